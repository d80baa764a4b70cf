//! Scenarios for the outcomes of a server that no outcome of a client implies.

use std::net::SocketAddr;

use anyhow::Result;

use super::{
    View,
    stage::{PAYLOAD, Stage, override_sysctl},
};
use crate::{
    client::{Connect, Source},
    middlebox::{Effect, Middlebox, Rule},
    server::{Keys, Listen},
};

const OLD_KEY: [u8; 16] = *b"the old key 16 b";
const NEW_KEY: [u8; 16] = *b"the new key 16 b";

/// The TFO queue has one place, which a second client fills: its handshake never ends at the server.
pub fn queue_overflow(stage: &mut Stage<'_>) -> Result<()> {
    let server = stage.serve(&Listen {
        fast_open: Some(1),
        ..stage.listen()
    })?;
    let target = server.address();
    stage.prime(target)?;
    let squatter = Connect {
        family: stage.params.family,
        source: Source::Bound(SocketAddr::new(stage.client_ip(1), 0)),
        reset_on_close: true,
        ..Connect::new(target, PAYLOAD)
    };
    let granted = View::request("cookie-granted", true);
    stage.prime_by(&squatter, granted, Some(granted))?;

    let half_open = Rule::new(Effect::DropAfterSyn, target.ip())
        .port(target.port())
        .client(stage.client_ip(1));
    let _half_open = Middlebox::on_path(stage.lab, &half_open)?;
    let filler = stage.lab.in_client(|| squatter.open())?;

    let client = View::cookie("data-refused", PAYLOAD, 0);
    let overflow = View::cookie("queue-overflow", PAYLOAD, 0);
    stage.measure(&stage.connect(target), client, Some(overflow))?;
    let taken = View::cookie("accepted", PAYLOAD, PAYLOAD);
    stage.add(true, &squatter, taken, Some(taken), filler.close()?)
}

pub fn not_enabled(stage: &mut Stage<'_>) -> Result<()> {
    let server = stage.serve(&stage.listen())?;
    stage.prime(server.address())?;
    let _setting = override_sysctl(stage.lab.server(), "net/ipv4/tcp_fastopen", "1")?;
    let client = View::cookie("data-refused", PAYLOAD, 0);
    let server_view = View::cookie("not-enabled", PAYLOAD, 0);
    stage.measure(&stage.connect(server.address()), client, Some(server_view))
}

pub fn option_stripped(stage: &mut Stage<'_>) -> Result<()> {
    let server = stage.serve(&stage.listen())?;
    stage.prime(server.address())?;
    let _path = stage.path(Effect::StripSyn { experimental: true }, server.address())?;
    let client = View::cookie("data-refused", PAYLOAD, 0);
    let server_view = View::naked_data("option-stripped", PAYLOAD, 0);
    stage.measure(&stage.connect(server.address()), client, Some(server_view))
}

pub fn syncookie(stage: &mut Stage<'_>) -> Result<()> {
    let server = stage.serve(&stage.listen())?;
    stage.prime(server.address())?;
    let _setting = override_sysctl(stage.lab.server(), "net/ipv4/tcp_syncookies", "2")?;
    let client = View::cookie("data-refused", PAYLOAD, 0);
    let server_view = View::cookie("syncookie", PAYLOAD, 0);
    stage.measure(&stage.connect(server.address()), client, Some(server_view))
}

pub fn backup_key(stage: &mut Stage<'_>) -> Result<()> {
    let before = stage.serve(&Listen {
        keys: Keys::One(OLD_KEY),
        ..stage.listen()
    })?;
    let rotated = stage.serve(&Listen {
        keys: Keys::WithBackup(NEW_KEY, OLD_KEY),
        ..stage.listen()
    })?;
    stage.prime(before.address())?;
    let view = View::cookie("accepted", PAYLOAD, PAYLOAD).with_new_cookie();
    stage.measure(&stage.connect(rotated.address()), view, Some(view))
}
