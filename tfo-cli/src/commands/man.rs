//! `tfo-cli man [COMMAND ...]`.

use crate::{
    args,
    exit::{self, Failure},
    output,
};

/// Prints the page.
pub fn run(command: &[String]) -> Result<u8, Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(find(command)?).render(&mut page)?;
    output::print(&String::from_utf8_lossy(&page))?;
    Ok(exit::DONE)
}

fn find(names: &[String]) -> Result<clap::Command, Failure> {
    let mut found = args::parser();
    found.build();
    for name in names {
        let inner = found.find_subcommand(name).cloned();
        found = inner.ok_or_else(|| {
            Failure::usage("man", names.join(" "), "no such command").hint("tfo-cli --help lists them")
        })?;
    }
    if names.is_empty() {
        return Ok(found);
    }
    Ok(found.display_name(format!("tfo-cli-{}", names.join("-"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (line, part) in [
            ("", "tfo\\-cli"),
            ("top", "\\-\\-interval"),
            ("trace", "\\-\\-format"),
            ("policy add", "\\-\\-dst"),
            ("policy apply", "[[rule]]"),
            ("guard on", "\\-\\-escalate"),
        ] {
            let mut page = Vec::new();
            clap_mangen::Man::new(find(&words(line)).expect("it exists"))
                .render(&mut page)
                .expect("memory takes it");
            let page = String::from_utf8_lossy(&page).into_owned();
            assert!(page.contains(".SH NAME") && page.contains(part), "{line}: {page}");
        }
        for line in ["nothing", "policy nothing", "top nothing"] {
            let error = find(&words(line)).expect_err("there is no such command");
            assert_eq!(error.code, exit::USAGE);
        }
    }
}
