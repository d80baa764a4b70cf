//! nginx that answers and closes: a server that does a little work, and one nobody here wrote.

use std::fs;

use anyhow::{Context as _, Result};

use super::load::{Kind, Shape};
use super::observer::scratch;

/// It has a network namespace to itself.
const PORT: u16 = 8080;

/// What it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// Five bytes, as soon as it has read the request.
    Small,
    /// The same, after it has matched an expression that goes back and forth over some letters: 30 us and more of work.
    Worked,
}

/// Letters that the expression of [`Page::Worked`] is matched with; each doubles the work. With these the machine of docs/cost.md answers
/// about 32,000 requests per second, which is the rate that the goal was set at.
const LETTERS: usize = 9;

/// Requests to nginx over Fast Open, one per connection, which it closes.
pub fn requests(page: Page, seconds: impl Into<f64>) -> Result<Shape> {
    Ok(Shape::fastest(Kind::Tfo, seconds)
        .with(&format!("--http {PORT}"))
        .beside(&command(page)?))
}

/// Starts it, with its files where they are not in the way.
fn command(page: Page) -> Result<String> {
    let directory = scratch("nginx")?;
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let configuration = directory.join("nginx.conf");
    fs::write(&configuration, text(page, &directory.to_string_lossy()))
        .with_context(|| format!("cannot write {}", configuration.display()))?;
    Ok(format!(
        "nginx -e stderr -p {} -c {}",
        directory.display(),
        configuration.display()
    ))
}

fn text(page: Page, directory: &str) -> String {
    let work = match page {
        Page::Small => String::new(),
        Page::Worked => format!(
            "set $letters \"{}d\"; if ($letters ~ \"^(a|a)*[bc]$\") {{ return 404; }} ",
            "a".repeat(LETTERS)
        ),
    };
    format!(
        "daemon off;\nworker_processes auto;\nuser root;\npid {directory}/nginx.pid;\nerror_log stderr error;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  access_log off;\n  server {{\n    listen 127.0.0.1:{PORT} fastopen=4096 backlog=4096 reuseport;\n    \
         location / {{ {work}return 200 \"hello\"; }}\n  }}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_files_are_where_it_is_told() {
        for page in [Page::Small, Page::Worked] {
            let text = text(page, "/tmp/x");
            assert!(
                text.contains("pid /tmp/x/nginx.pid;") && text.contains("fastopen="),
                "{text}"
            );
            assert_eq!(text.matches('{').count(), text.matches('}').count());
        }
    }
}
