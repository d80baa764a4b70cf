//! nginx that answers and closes: a server that does a little work, and one nobody here wrote.

use std::fs;

use anyhow::{Context as _, Result};

use super::load::{Kind, Shape};
use super::observer::scratch;

/// It has a network namespace to itself.
const PORT: u16 = 8080;

/// Requests to nginx over Fast Open, one per connection, which it closes.
pub fn requests(seconds: impl Into<f64>) -> Result<Shape> {
    let directory = scratch("nginx")?;
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let configuration = directory.join("nginx.conf");
    fs::write(&configuration, text(&directory.to_string_lossy()))
        .with_context(|| format!("cannot write {}", configuration.display()))?;
    let command = format!(
        "nginx -e stderr -p {} -c {}",
        directory.display(),
        configuration.display()
    );
    Ok(Shape::fastest(Kind::Tfo, seconds)
        .with(&format!("--http {PORT}"))
        .beside(&command))
}

fn text(directory: &str) -> String {
    format!(
        "daemon off;\nworker_processes auto;\nuser root;\npid {directory}/nginx.pid;\nerror_log stderr error;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  access_log off;\n  server {{\n    listen 127.0.0.1:{PORT} fastopen=4096 backlog=4096 reuseport;\n    \
         location / {{ return 200 \"hello\"; }}\n  }}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_files_are_where_it_is_told() {
        let text = text("/tmp/x");
        assert!(
            text.contains("pid /tmp/x/nginx.pid;") && text.contains("fastopen="),
            "{text}"
        );
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }
}
