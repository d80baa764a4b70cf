//! One scenario for each outcome of a client.

use std::net::SocketAddr;

use anyhow::Result;

use super::{
    View,
    stage::{PAYLOAD, Stage, override_sysctl},
};
use crate::{
    client::{Api, ClientOption, Connect},
    middlebox::{Effect, Middlebox, Rule},
    responder::Responder,
    server::{Keys, Listen},
};

/// Gives up after one retransmission: within seconds instead of two minutes.
const GIVE_UP_EARLY: ClientOption = ClientOption::SynCount(1);
/// Port of the responder, below the range of ephemeral ports.
const RESPONDER_PORT: u16 = 7777;
const BLACKHOLE_SYSCTL: &str = "net/ipv4/tcp_fastopen_blackhole_timeout_sec";

pub fn accepted(stage: &mut Stage<'_>) -> Result<()> {
    let server = stage.serve(&stage.listen())?;
    stage.prime(server.address())?;
    let view = View::cookie("accepted", PAYLOAD, PAYLOAD);
    stage.measure(&stage.connect(server.address()), view, Some(view))
}

pub fn accepted_late(stage: &mut Stage<'_>) -> Result<()> {
    let server = stage.serve(&stage.listen())?;
    stage.prime(server.address())?;
    let _path = stage.path(Effect::DropEarlySynAcks, server.address())?;
    let client = View::cookie("accepted-late", PAYLOAD, PAYLOAD).late();
    let server_view = View::cookie("accepted", PAYLOAD, PAYLOAD);
    stage.measure(&stage.connect(server.address()), client, Some(server_view))
}

pub fn partly_accepted(stage: &mut Stage<'_>) -> Result<()> {
    let address = SocketAddr::new(stage.server_ip(), RESPONDER_PORT);
    let responder = Responder::start(stage.lab, address, PAYLOAD / 2)?;
    stage.prime_as(responder.address(), View::request("cookie-granted", true), None)?;
    let view = View::cookie("partly-accepted", PAYLOAD, PAYLOAD / 2);
    stage.measure(&stage.connect(responder.address()), view, None)
}

pub fn cookie_granted(stage: &mut Stage<'_>) -> Result<()> {
    let server = stage.serve(&stage.listen())?;
    let view = View::request("cookie-granted", true);
    stage.measure(&stage.connect(server.address()), view, Some(view))
}

pub fn cookie_refused(stage: &mut Stage<'_>) -> Result<()> {
    let server = stage.serve(&Listen {
        fast_open: None,
        ..stage.listen()
    })?;
    let (client, server_view) = (
        View::request("cookie-refused", false),
        View::request("not-enabled", false),
    );
    stage.measure(&stage.connect(server.address()), client, Some(server_view))
}

pub fn cookie_only(stage: &mut Stage<'_>) -> Result<()> {
    let server = stage.serve(&stage.listen())?;
    stage.prime(server.address())?;
    let connect = Connect {
        payload: 0,
        reply: 0,
        ..stage.connect(server.address())
    };
    // The server makes a child from the SYN even if there is nothing to read yet.
    stage.measure(
        &connect,
        View::cookie("cookie-only", 0, 0),
        Some(View::cookie("accepted", 0, 0)),
    )
}

pub fn data_refused(stage: &mut Stage<'_>) -> Result<()> {
    let granting = stage.serve(&stage.listen())?;
    let refusing = stage.serve(&Listen {
        fast_open: None,
        ..stage.listen()
    })?;
    stage.prime(granting.address())?; // one cookie per address, whatever the port
    let client = View::cookie("data-refused", PAYLOAD, 0);
    let server = View::cookie("not-enabled", PAYLOAD, 0);
    stage.measure(&stage.connect(refusing.address()), client, Some(server))
}

pub fn cookie_rejected(stage: &mut Stage<'_>) -> Result<()> {
    let first = stage.serve(&Listen {
        keys: Keys::One(*b"the first key 16"),
        ..stage.listen()
    })?;
    let other = stage.serve(&Listen {
        keys: Keys::One(*b"another key 16 b"),
        ..stage.listen()
    })?;
    stage.prime(first.address())?;
    let view = View::cookie("cookie-rejected", PAYLOAD, 0).with_new_cookie();
    stage.measure(&stage.connect(other.address()), view, Some(view))
}

pub fn syn_timeout(stage: &mut Stage<'_>) -> Result<()> {
    let server = stage.serve(&stage.listen())?;
    stage.prime(server.address())?;
    let _path = stage.path(Effect::DropSynData, server.address())?;
    let client = View::cookie("syn-timeout", PAYLOAD, 0).late();
    stage.measure(
        &stage.connect(server.address()),
        client,
        Some(View::bare("plain")),
    )
}

pub fn reset(stage: &mut Stage<'_>) -> Result<()> {
    let server = stage.serve(&stage.listen())?;
    stage.prime(server.address())?;
    let _path = stage.path(Effect::ResetSynData, server.address())?;
    let client = View::cookie("reset", PAYLOAD, 0).unfinished();
    stage.measure(&stage.connect_bound(server.address()), client, None)
}

pub fn failed(stage: &mut Stage<'_>) -> Result<()> {
    let server = stage.serve(&stage.listen())?;
    stage.prime(server.address())?;
    let _path = stage.path(Effect::DropSyn, server.address())?;
    let connect = Connect {
        options: vec![GIVE_UP_EARLY],
        ..stage.connect_bound(server.address())
    };
    stage.measure(
        &connect,
        View::cookie("failed", PAYLOAD, 0).late().unfinished(),
        None,
    )
}

pub fn paused(stage: &mut Stage<'_>) -> Result<()> {
    // Writing the setting, here and when it is put back, also ends any pause.
    let _setting = override_sysctl(stage.lab.client(), BLACKHOLE_SYSCTL, "3600")?;
    let server = stage.serve(&stage.listen())?;
    stage.prime(server.address())?;
    let blackhole = stage.path(Effect::DropSyn, server.address())?;
    let doomed = Connect {
        options: vec![GIVE_UP_EARLY],
        ..stage.connect_bound(server.address())
    };
    stage.prime_by(
        &doomed,
        View::cookie("failed", PAYLOAD, 0).late().unfinished(),
        None,
    )?;
    drop(blackhole);
    stage.measure(
        &stage.connect(server.address()),
        View::bare("paused"),
        Some(View::bare("plain")),
    )
}

pub fn local_drop(stage: &mut Stage<'_>) -> Result<()> {
    let server = stage.serve(&stage.listen())?;
    stage.prime(server.address())?;
    let rule = Rule::new(Effect::DropSynData, server.address().ip()).port(server.address().port());
    let _firewall = Middlebox::on_client(stage.lab, &rule)?;
    // The kernel falls back at once to a SYN that asks for a cookie again.
    let client = View::request("local-drop", true);
    let server_view = View::request("cookie-granted", true);
    stage.measure(&stage.connect(server.address()), client, Some(server_view))
}

pub fn plain(stage: &mut Stage<'_>) -> Result<()> {
    let server = stage.serve(&stage.listen())?;
    let connect = Connect {
        api: Api::Plain,
        ..stage.connect(server.address())
    };
    stage.measure(&connect, View::bare("plain"), Some(View::bare("plain")))
}
