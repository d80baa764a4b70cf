//! What the verifier of the machine's kernel did with each program: lines of `tfo-cli debug programs --json`.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::vm::{expected, release::Series};

/// A program of one of the two objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    pub object: String,
    #[serde(rename = "program")]
    pub name: String,
    pub instructions: u64,
    pub jited_bytes: u64,
    /// Instructions that the verifier processed; `None` when the kernel does not tell.
    pub verified_insns: Option<u64>,
    /// Instructions that it may process.
    pub bound: u64,
    /// Why the kernel refused the program; `None` when it did not.
    pub refused: Option<String>,
}

impl Program {
    pub fn parse(line: &str) -> Result<Self> {
        serde_json::from_str(line).with_context(|| format!("not a program: `{line}`"))
    }

    /// The finding about the program on a kernel of this series; `None` when it is fine.
    pub fn problem(&self, series: Series) -> Option<String> {
        let Self { name, bound, .. } = self;
        let must_be_refused = expected::is_refused(series, name);
        match (&self.refused, self.verified_insns) {
            (Some(_), _) if must_be_refused => None,
            (None, _) if must_be_refused => Some(format!(
                "{name}: was expected to be refused on {series}, and is not"
            )),
            (Some(why), _) => Some(format!("{name}: refused: {why}")),
            (None, None) => Some(format!("{name}: nothing says what its verification cost")),
            (None, Some(count)) if count > *bound => Some(format!(
                "{name}: {count} instructions verified, at most {bound} should be"
            )),
            (None, Some(_)) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"object":"tfo-policy","program":"tfo_pol_egress","instructions":1969,"jited_bytes":9113,"verified_insns":50000,"refused":null,"bound":50000}"#;

    fn problem(line: &str) -> String {
        let program = Program::parse(line).unwrap();
        program.problem(Series::new(6, 1)).unwrap_or_default()
    }

    #[test]
    fn refused_above_the_bound_and_unknown_are_problems() {
        assert_eq!(problem(LINE), "");
        assert!(
            problem(&LINE.replace(":50000,\"refused", ":50001,\"refused")).contains("50001 instructions")
        );
        assert!(problem(&LINE.replace("null", "\"E2BIG\"")).contains("refused: E2BIG"));
        assert!(problem(&LINE.replace(":50000,\"refused", ":null,\"refused")).contains("nothing says"));
        let old = LINE
            .replace("null", "\"unknown func\"")
            .replace("tfo_pol_egress", "tfo_prime");
        assert_eq!(Program::parse(&old).unwrap().problem(Series::new(5, 10)), None);
        assert!(problem(&old).contains("refused"));
        assert!(Program::parse("{}").is_err() && Program::parse("x").is_err());
    }
}
