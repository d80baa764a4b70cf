//! Variants of the outcomes: the experimental option, no cookies, payload sizes, requests and losses.

use anyhow::Result;

use super::{
    View,
    stage::{PAYLOAD, Stage, override_sysctl},
};
use crate::{
    client::{Api, ClientOption, Connect},
    middlebox::Effect,
    server::Listen,
};

/// The client requests a cookie with option 34 and gets none, requests one with 254 and gets it, and uses 254 from then
/// on.
pub fn experimental_synack(stage: &mut Stage<'_>) -> Result<()> {
    let granted_at_server = View::request("cookie-granted", true);
    experimental(
        stage,
        Effect::StripSynAck { experimental: false },
        granted_at_server,
    )
}

/// The same where the request with option 34 does not reach the server.
pub fn experimental_syn(stage: &mut Stage<'_>) -> Result<()> {
    experimental(
        stage,
        Effect::StripSyn { experimental: false },
        View::bare("plain"),
    )
}

fn experimental(stage: &mut Stage<'_>, effect: Effect, first_at_server: View) -> Result<()> {
    let server = stage.serve(&stage.listen())?;
    let target = server.address();
    let _path = stage.path(effect, target)?;
    stage.prime_as(
        target,
        View::request("cookie-refused", false),
        Some(first_at_server),
    )?;
    let granted = View::request("cookie-granted", true).experimental();
    stage.prime_as(target, granted, Some(granted))?;
    let view = View::cookie("accepted", PAYLOAD, PAYLOAD).experimental();
    stage.measure(&stage.connect(target), view, Some(view))
}

pub fn cookieless(stage: &mut Stage<'_>) -> Result<()> {
    let server = stage.serve(&Listen {
        no_cookie: true,
        ..stage.listen()
    })?;
    let connect = Connect {
        options: vec![ClientOption::NoCookie],
        ..stage.connect(server.address())
    };
    let view = View::naked_data("accepted", PAYLOAD, PAYLOAD);
    stage.measure(&connect, view, Some(view))
}

pub fn cookieless_sysctl(stage: &mut Stage<'_>) -> Result<()> {
    let _client = override_sysctl(stage.lab.client(), "net/ipv4/tcp_fastopen", "5")?; // 0x4: no cookie
    let _server = override_sysctl(stage.lab.server(), "net/ipv4/tcp_fastopen", "515")?; // 0x203
    let server = stage.serve(&stage.listen())?;
    let view = View::naked_data("accepted", PAYLOAD, PAYLOAD);
    stage.measure(&stage.connect(server.address()), view, Some(view))
}

/// The server cannot tell this from an option that was stripped.
pub fn cookieless_refused(stage: &mut Stage<'_>) -> Result<()> {
    let server = stage.serve(&stage.listen())?;
    let connect = Connect {
        options: vec![ClientOption::NoCookie],
        ..stage.connect(server.address())
    };
    let client = View::naked_data("data-refused", PAYLOAD, 0);
    stage.measure(
        &connect,
        client,
        Some(View::naked_data("option-stripped", PAYLOAD, 0)),
    )
}

pub fn full_segment(stage: &mut Stage<'_>) -> Result<()> {
    sized(stage, stage.params.syn_capacity())
}

pub fn large_payload(stage: &mut Stage<'_>) -> Result<()> {
    sized(stage, 5000)
}

fn sized(stage: &mut Stage<'_>, payload: usize) -> Result<()> {
    let server = stage.serve(&stage.listen())?;
    stage.prime(server.address())?;
    let carried = payload.min(stage.params.syn_capacity());
    let view = View::cookie("accepted", carried, carried);
    let connect = Connect {
        payload,
        reply: payload,
        ..stage.connect(server.address())
    };
    stage.measure(&connect, view, Some(view))
}

pub fn request_timeout(stage: &mut Stage<'_>) -> Result<()> {
    let server = stage.serve(&stage.listen())?;
    let _path = stage.path(Effect::DropTfoSyn, server.address())?;
    let client = View::request("syn-timeout", false).late();
    stage.measure(
        &stage.connect(server.address()),
        client,
        Some(View::bare("plain")),
    )
}

/// The retransmitted SYN-ACK carries no cookie, so the client cannot tell this from a dropped SYN.
pub fn request_late(stage: &mut Stage<'_>) -> Result<()> {
    let server = stage.serve(&stage.listen())?;
    let _path = stage.path(Effect::DropEarlySynAcks, server.address())?;
    let client = View::request("syn-timeout", false).late();
    stage.measure(
        &stage.connect(server.address()),
        client,
        Some(View::request("cookie-granted", true)),
    )
}

pub fn request_reset(stage: &mut Stage<'_>) -> Result<()> {
    let server = stage.serve(&stage.listen())?;
    let _path = stage.path(Effect::ResetTfoSyn, server.address())?;
    let client = View::request("reset", false).unfinished();
    stage.measure(&stage.connect_bound(server.address()), client, None)
}

pub fn plain_late(stage: &mut Stage<'_>) -> Result<()> {
    let server = stage.serve(&stage.listen())?;
    let _path = stage.path(Effect::DropEarlySynAcks, server.address())?;
    let connect = Connect {
        api: Api::Plain,
        ..stage.connect(server.address())
    };
    stage.measure(&connect, View::bare("plain").late(), Some(View::bare("plain")))
}
