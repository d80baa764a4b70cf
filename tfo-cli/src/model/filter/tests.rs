//! Filters as table and property tests.

use proptest::prelude::*;
use tfo_common::Outcome;

use super::Filter;
use crate::model::{cgroup, fake, filterable::FilterableFlow, flow::Flow};

fn matches(filter: &str, change: impl FnOnce(&mut tfo_common::FlowEvent)) -> bool {
    let mut event = fake::flow(Outcome::SynTimeout);
    change(&mut event);
    let name = cgroup::parse("/system.slice/web.service");
    let flow = Flow::new(&event).expect("codes are known");
    let filter: Filter = filter.parse().unwrap_or_else(|error| panic!("{filter}: {error}"));
    filter.matches(&FilterableFlow {
        flow: &flow,
        cgroup: Some(&name),
        network: Some("Office-2"),
    })
}

#[test]
fn terms_match_what_they_name() {
    // The flow: client curl (4321), 192.0.2.1:40000 -> 198.51.100.7:443, syn-timeout, lost 1,024 ms.
    let table = [
        ("", true),
        ("   ", true),
        ("dst:198.51.100.0/24", true),
        ("dst:198.51.101.0/24", false),
        ("dst:10.0.0.0/8,198.51.100.7", true),
        ("dst:::/0", false),
        ("network:office", true),
        ("network:mobile,OFFICE-2", true),
        ("!network:office", false),
        ("network:mobile", false),
        ("office", true),
        ("port:443", true),
        ("port:400-450", true),
        ("port:40000", false),
        ("proc:curl", true),
        ("proc:CUR", true),
        ("proc:4321", true),
        ("proc:1", false),
        ("cgroup:system.slice", true),
        ("unit:web", true),
        ("unit:db", false),
        ("role:client", true),
        ("role:server", false),
        ("outcome:syn-timeout", true),
        ("outcome:reset,syn-timeout", true),
        ("outcome:failure", true),
        ("outcome:good", false),
        ("!outcome:good", true),
        ("fam:4", true),
        ("!fam:4", false),
        ("lost>100ms", true),
        ("lost>100", true),
        ("lost>1100ms", false),
        ("lost>=1s", true),
        ("lost>1m", false),
        ("lost<1h30m", true),
        ("lost<1d", true),
        ("lost<2s", true),
        ("lost=1024000us", true),
        ("syn=120", true),
        ("syn>1k", false),
        ("retrans>=1", true),
        ("attempts>0", false),
        ("timeout", true),
        ("web.service", true),
        ("198.51", true),
        ("fe80::1", false),
        ("\"curl\"", true),
        ("role:client outcome:failure lost>1s", true),
        ("role:client outcome:good", false),
    ];
    for (filter, want) in table {
        assert_eq!(matches(filter, |_| {}), want, "{filter}");
    }
}

#[test]
fn a_filter_says_what_only_a_name_decides() {
    let table = [
        ("port:443", false, false),
        ("unit:web", true, true),
        ("!cgroup:web", true, true),
        ("unit:web port:443", true, true),
        // Decided by the port already.
        ("unit:web port:1", true, false),
        ("web", true, true),
        // The word is in the address, or in the name of the process.
        ("198.51", true, false),
        ("curl unit:web,db", true, true),
        ("", false, false),
    ];
    let flow = Flow::new(&fake::flow(Outcome::SynTimeout)).expect("codes are known");
    for (filter, needs, undecided) in table {
        let parsed: Filter = filter.parse().unwrap_or_else(|error| panic!("{filter}: {error}"));
        let nameless = FilterableFlow {
            flow: &flow,
            cgroup: None,
            network: None,
        };
        assert_eq!(
            (parsed.needs_names(), parsed.is_undecided(&nameless)),
            (needs, undecided),
            "{filter}"
        );
    }
}

#[test]
fn an_unseen_time_matches_no_comparison() {
    for filter in ["ttfb>0", "ttfb<1s", "ttfb=0"] {
        assert!(
            !matches(filter, |event| event.ttfb_us = tfo_common::time::UNSEEN_US),
            "{filter}"
        );
    }
}

#[test]
fn errors_point_at_the_word_and_say_what_would_be_right() {
    let table = [
        ("role:client port:x", 12..18, "'x' is not a port"),
        ("outcome:late", 0..12, "syn-timeout"),
        ("role:peer", 0..9, "client, server"),
        ("fam:5", 0..5, "4, 6"),
        ("dst:10.0.0/8", 0..12, "not an IP address"),
        ("lost>fast", 0..9, "500ms"),
        ("lost>", 0..5, "needs a value"),
        ("hit>1h", 0..6, "not a number"),
        ("prot:443", 0..8, "'prot' is not known"),
        ("port>443", 0..8, "write port:value"),
        ("port:", 0..5, "needs a value"),
        ("outcome:reset,", 0..14, "needs a value"),
        ("port:9-1", 0..8, "range"),
        ("!", 0..1, "negates"),
    ];
    for (filter, at, part) in table {
        let error = filter.parse::<Filter>().expect_err(filter);
        assert_eq!(error.at, at, "{filter}");
        assert!(error.message.contains(part), "{filter}: {}", error.message);
    }
}

#[test]
fn flags_and_language_agree() {
    let mut flags = Filter::default();
    flags
        .require("outcome", &["reset".into(), "failed".into()])
        .expect("good values");
    flags.require("port", &[]).expect("nothing is nothing");
    assert_eq!(Ok(flags), "outcome:reset,failed".parse());
}

proptest! {
    #[test]
    fn parsing_never_panics_and_errors_lie_inside_the_text(text in "\\PC{0,60}") {
        if let Err(error) = text.parse::<Filter>() {
            prop_assert!(text.get(error.at).is_some());
        }
    }

    #[test]
    fn near_misses_never_panic(text in "(!|)(dst|port|proc|outcome|lost|hit|x)[:<>=!]{0,2}[0-9a-z.,/%:\"-]{0,12}( |)[!]?") {
        let _ = text.parse::<Filter>();
    }

    #[test]
    fn a_negated_filter_matches_the_rest(word in "(outcome:good|role:client|port:443|lost>1s|curl)") {
        prop_assert_ne!(matches(&word, |_| {}), matches(&format!("!{word}"), |_| {}));
    }
}
