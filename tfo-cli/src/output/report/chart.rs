//! Charts as SVG, written by hand so that they are accessible: role, title, description; no meaning by colour alone.

use maud::{Markup, html};

use super::{ladder::Ladder, timeline::Timeline};

/// Width of the timeline in its own units.
const WIDTH: u64 = 640;
/// Height of its bars.
const HEIGHT: u64 = 120;
/// Where the bars end: above the highest stands what it counts.
const FOOT: u64 = HEIGHT + 24;

/// Handshakes over time, stacked: those in which Fast Open worked at the bottom, those in which it did not hatched above
/// them, those without it on top.
pub fn timeline(timeline: &Timeline) -> Markup {
    let most = timeline.most().max(1);
    let count = timeline.bars.len().max(1) as u64;
    let scaled = |value: u64| value * HEIGHT / most;
    let bars = timeline.bars.iter().enumerate().map(|(index, bar)| {
        let x = |index: usize| index as u64 * WIDTH / count;
        let (x, width) = (x(index), x(index + 1).saturating_sub(x(index) + 2).max(1));
        let (good, failed) = (scaled(bar.good), scaled(bar.failed));
        (x, width, good, failed, scaled(bar.plain))
    });
    let (first, last) = (
        timeline.bars.first().map_or("", |bar| bar.at.as_str()),
        timeline.bars.last().map_or("", |bar| bar.at.as_str()),
    );
    let failed: u64 = timeline.bars.iter().map(|bar| bar.failed).sum();
    let description = format!(
        "{} bars of {} from {first} to {last}. The highest stands for {most} handshakes; in {failed} of all \
         handshakes Fast Open did not work. The table below has the numbers.",
        timeline.bars.len(),
        timeline.length
    );
    html! {
        svg.timeline role="img" aria-labelledby="timeline-title timeline-description" viewBox=(format!("0 0 {WIDTH} {}", FOOT + 24)) {
            title id="timeline-title" { "Fast Open in handshakes over time" }
            desc id="timeline-description" { (description) }
            defs {
                pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                    rect width="6" height="6" class="failed" {}
                    line x1="0" y1="0" x2="0" y2="6" class="hatch" {}
                }
            }
            @for (x, width, good, failed, plain) in bars {
                rect class="good" x=(x) y=(FOOT - good) width=(width) height=(good) {}
                rect fill="url(#hatch)" x=(x) y=(FOOT - good - failed) width=(width) height=(failed) {}
                rect class="plain" x=(x) y=(FOOT - good - failed - plain) width=(width) height=(plain) {}
            }
            text x="0" y="16" { "at most " (most) " handshakes" }
            line class="axis" x1="0" y1=(FOOT) x2=(WIDTH) y2=(FOOT) {}
            text x="0" y=(FOOT + 18) { (first) }
            text x=(WIDTH) y=(FOOT + 18) text-anchor="end" { (last) }
        }
        p.legend {
            svg aria-hidden="true" viewBox="0 0 12 12" { rect class="good" width="12" height="12" {} } " worked "
            svg aria-hidden="true" viewBox="0 0 12 12" { rect fill="url(#hatch)" width="12" height="12" {} } " did not work (hatched) "
            svg aria-hidden="true" viewBox="0 0 12 12" { rect class="plain" width="12" height="12" {} } " not tried"
        }
    }
}

/// Pixels between two packets.
const RUNG: usize = 34;
/// Where the two hosts stand.
const CLIENT: usize = 56;
const SERVER: usize = 344;

/// An exchange between client and server. `id` is unique in the page.
pub fn ladder(ladder: &Ladder, id: &str) -> Markup {
    let height = 30 + RUNG * ladder.rungs.len().max(1);
    let (title, description) = (format!("{id}-title"), format!("{id}-description"));
    let text: Vec<String> = ladder
        .rungs
        .iter()
        .map(|rung| format!("{}: {}, {}.", rung.at, rung.way(), rung.what))
        .collect();
    html! {
        svg.ladder role="img" aria-labelledby=(format!("{title} {description}")) viewBox=(format!("0 0 400 {height}")) {
            title id=(title) { "One connection as an exchange of packets" }
            desc id=(description) { (text.join(" ")) }
            text x=(CLIENT) y="14" text-anchor="middle" { "client" }
            text x=(SERVER) y="14" text-anchor="middle" { "server" }
            line.axis x1=(CLIENT) y1="20" x2=(CLIENT) y2=(height - 4) {}
            line.axis x1=(SERVER) y1="20" x2=(SERVER) y2=(height - 4) {}
            @for (index, rung) in ladder.rungs.iter().enumerate() {
                @let y = 46 + RUNG * index;
                @let middle = usize::midpoint(CLIENT, SERVER);
                @let (from, to) = if rung.to_server { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
                @let end = if rung.arrived { to } else { middle };
                text x=(CLIENT - 6) y=(y + 4) text-anchor="end" { (rung.at) }
                text x=(middle) y=(y - 8) text-anchor="middle" { (rung.what) }
                line.packet.lost[!rung.arrived] x1=(from) y1=(y) x2=(end) y2=(y) {}
                @if rung.arrived {
                    @let back = if rung.to_server { to - 7 } else { to + 7 };
                    polygon.head points=(format!("{to},{y} {back},{} {back},{}", y - 4, y + 4)) {}
                } @else {
                    path.cross d=(format!("M{} {} l10 10 m0 -10 l-10 10", end - 5, y - 5)) {}
                }
            }
        }
    }
}
