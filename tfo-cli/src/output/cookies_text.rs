//! The cookie cache as a table for people.

use super::{
    aligned::{Heading, table},
    number,
};
use crate::{addr::Prefix, inspect::cookies::Cached};

/// Every entry with a part in Fast Open.
pub fn entries(found: &[Cached]) -> String {
    if found.is_empty() {
        return "no cookies: nothing here has used Fast Open as a client, or its entries are gone\n"
            .to_owned();
    }
    let headings = [
        Heading::text("NETNS"),
        Heading::text("SOURCE"),
        Heading::text("DESTINATION"),
        Heading::text("COOKIE"),
        Heading::number("MSS"),
        Heading::number("SYN-DROPS"),
        Heading::number("LATEST"),
        Heading::number("WRITTEN"),
    ];
    let rows: Vec<_> = found
        .iter()
        .map(|cached| {
            let entry = &cached.entry;
            let drops = entry.syn_drops;
            [
                cached.netns.to_string(),
                or_dash(entry.source),
                entry.destination.to_string(),
                or_dash(entry.cookie.map(|cookie| cookie.fingerprint)),
                or_dash(entry.mss),
                or_dash(drops.map(|drops| drops.count)),
                or_dash(drops.and_then(|drops| drops.age_ms).map(ago)),
                or_dash(entry.age_ms.map(ago)),
            ]
        })
        .collect();
    table(&headings, &rows)
}

/// What was deleted.
pub fn forgotten(prefix: &Prefix, gone: &[Cached]) -> String {
    if gone.is_empty() {
        return format!("nothing to forget: no entry with a part in Fast Open is for {prefix}\n");
    }
    let each = gone.iter().map(|cached| {
        let source = or_dash(cached.entry.source);
        format!(
            "forgot {} from {source} in netns {}\n",
            cached.entry.destination, cached.netns
        )
    });
    let mut text: String = each.collect();
    let entries = if gone.len() == 1 {
        "1 entry".to_owned()
    } else {
        format!("{} entries", gone.len())
    };
    text.push_str(&entries);
    text.push_str(
        " deleted. The kernel dropped the RTT, window and reordering metrics of these addresses with them: the\n\
         next connections begin with its defaults, and ask for a cookie\n",
    );
    text
}

/// Time that has passed.
fn ago(ms: u64) -> String {
    number::duration(ms.saturating_mul(1_000))
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::cookies::tests::cached;

    #[test]
    fn the_table_is_aligned_and_shows_no_cookie() {
        let mut bare = cached(4_026_531_840, "2001:db8::7", 0);
        bare.entry.cookie = None;
        bare.entry.source = None;
        insta::assert_snapshot!(entries(&[cached(1, "198.51.100.7", 2), bare]));
        assert!(entries(&[]).starts_with("no cookies"));
    }

    #[test]
    fn forgetting_says_what_else_is_gone() {
        let prefix = "198.51.100.0/24".parse().expect("a prefix");
        insta::assert_snapshot!(forgotten(&prefix, &[cached(1, "198.51.100.7", 2)]));
        insta::assert_snapshot!(forgotten(&prefix, &[]));
    }
}
