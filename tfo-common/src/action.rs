//! What a rule of a tfo-cli policy does with the SYNs it applies to.
//!
//! Everything the project knows about an action is here: the egress program asks [`PolicyAction::on_syn`], the
//! command line, files and the dashboard take names and descriptions from it.

use crate::codes::codes;

codes! {
    /// Action of a rule. Code 0 is no action. Codes are append-only: rules in the kernel's maps and flow records
    /// hold them.
    PolicyAction: u8 {
        /// SYN data does not leave: `tcp_send_syn_data` queues it and sends a SYN without it in the same call.
        NoData = 1, "no-data", "No SYN carries data; nothing is delayed.";
        /// As `NoData`, and the TFO option is taken out of the SYN that leaves.
        Strip = 2, "strip", "No SYN carries data or the Fast Open option.";
        /// SYNs leave as they are; those that `NoData` would deny are counted.
        Observe = 3, "observe", "Counts what no-data would deny.";
    }
}

impl PolicyAction {
    /// Whether SYNs with data are kept from leaving.
    #[inline(always)]
    pub const fn denies_data(self) -> bool {
        match self {
            Self::NoData | Self::Strip => true,
            Self::Observe => false,
        }
    }

    /// Whether the TFO option is taken out of SYNs that leave, which needs the classifier on the interfaces.
    #[inline(always)]
    pub const fn strips_option(self) -> bool {
        match self {
            Self::Strip => true,
            Self::NoData | Self::Observe => false,
        }
    }

    /// Whether it leaves SYNs alone and only counts.
    #[inline(always)]
    pub const fn only_counts(self) -> bool {
        !self.denies_data() && !self.strips_option()
    }

    /// What happens to a SYN of a TFO connect under a rule with the action of this code.
    ///
    /// A code this version does not know lets the SYN pass: a program that meets the rule of a newer version must
    /// not deny what nobody asked it to.
    #[inline(always)]
    pub const fn on_syn(code: u8, has_data: bool) -> OnSyn {
        match Self::from_code(code) {
            Some(action) if has_data && action.denies_data() => OnSyn::Deny,
            Some(action) if has_data && action.only_counts() => OnSyn::Count,
            Some(action) if !has_data && action.strips_option() => OnSyn::MarkForStrip,
            Some(_) | None => OnSyn::Pass,
        }
    }
}

/// What the egress program does with a SYN to which a rule applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSyn {
    /// It leaves, and is not counted.
    Pass,
    /// It leaves, and is counted.
    Count,
    /// It does not leave. The bare SYN that follows is a packet of its own.
    Deny,
    /// It leaves with a mark that tells the classifier on the interface to take its option out.
    MarkForStrip,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_does_what_it_says() {
        for action in PolicyAction::ALL {
            let (with_data, bare) = match action {
                PolicyAction::NoData => (OnSyn::Deny, OnSyn::Pass),
                PolicyAction::Strip => (OnSyn::Deny, OnSyn::MarkForStrip),
                PolicyAction::Observe => (OnSyn::Count, OnSyn::Pass),
            };
            assert_eq!(PolicyAction::on_syn(action as u8, true), with_data, "{action:?}");
            assert_eq!(PolicyAction::on_syn(action as u8, false), bare, "{action:?}");
        }
    }

    #[test]
    fn unknown_actions_pass() {
        for code in (0..=u8::MAX).filter(|code| PolicyAction::from_code(*code).is_none()) {
            for has_data in [false, true] {
                assert_eq!(PolicyAction::on_syn(code, has_data), OnSyn::Pass, "{code}");
            }
        }
    }
}
