//! `tfo-cli man [COMMAND]`.

use crate::{
    args,
    exit::{self, Failure},
    output,
};

/// Prints the page.
pub fn run(command: Option<&str>) -> Result<u8, Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(find(command)?).render(&mut page)?;
    output::print(&String::from_utf8_lossy(&page))?;
    Ok(exit::DONE)
}

fn find(command: Option<&str>) -> Result<clap::Command, Failure> {
    let mut parser = args::parser();
    parser.build();
    let Some(name) = command else { return Ok(parser) };
    parser
        .find_subcommand(name)
        .cloned()
        .map(|command| command.display_name(format!("tfo-cli-{name}")))
        .ok_or_else(|| Failure::usage("man", name, "no such command").hint("tfo-cli --help lists them"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        for name in [None, Some("top"), Some("trace")] {
            let mut page = Vec::new();
            clap_mangen::Man::new(find(name).expect("it exists"))
                .render(&mut page)
                .expect("memory takes it");
            assert!(String::from_utf8_lossy(&page).contains(".SH NAME"), "{name:?}");
        }
        assert_eq!(
            find(Some("nothing")).expect_err("there is no such command").code,
            exit::USAGE
        );
    }
}
