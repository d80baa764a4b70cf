//! Crossed SYNs under a guard: the peer's own SYN is no answer. The socket that it meets shows nothing about the path, good or
//! bad, not even as a trial; the one that is answered by a SYN-ACK shows what any other shows.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tfo_lab::{
    client::{Api, Connect},
    crossed::{End, cross},
    lab::{self, Lab},
    middlebox::{Effect, Middlebox, Rule},
    server::{Listen, Server},
};

use crate::{
    enforce::{SYN_TIMEOUT_US, time},
    guards::{on, state},
    policy,
    support::{sandbox::Sandbox, wait_until},
};

const PAYLOAD: usize = 200;
/// Where the socket whose SYN is crossed connects to.
const PORT: u16 = 7_400;

/// What a guard knows of a destination, without what time changes.
fn known() -> Result<Value> {
    let mut state = state()?;
    state["next_trial_us"] = Value::Null;
    Ok(state)
}

/// Both sockets of a pair: the first one's SYN is lost, the second one's is what it gets.
fn pair(near: IpAddr, far: IpAddr, port: u16, api: Api) -> (End, End) {
    let end = |address, api| End {
        address,
        api,
        payload: PAYLOAD,
    };
    (
        end(SocketAddr::new(near, port), api),
        end(SocketAddr::new(far, PORT), Api::Plain),
    )
}

/// Has connections with SYN data to the far end fail, so that a guard has a state of it.
fn fail(lab: &Lab, far: IpAddr, times: usize) -> Result<()> {
    let server = Server::start(lab.client(), &Listen::new((far, PORT).into()))?;
    let connect = Connect {
        reset_on_close: true,
        ..Connect::new(server.address(), PAYLOAD)
    };
    connect.run_in(lab.server())?;
    let rule = Rule::new(Effect::DropSynData, far).port(PORT);
    let _path = Middlebox::before(lab.client(), &rule)?;
    for _ in 0..times {
        let report = connect.run_in(lab.server())?;
        ensure!(
            report.reply_matched && time(&report) >= SYN_TIMEOUT_US,
            "it was to fail: {report:?}"
        );
    }
    Ok(())
}

pub fn no_evidence() -> Result<()> {
    for (near, far) in [
        (lab::server_v4(0), lab::client_v4(0)),
        (lab::server_v6(0), lab::client_v6(0)),
    ] {
        let (lab, sandbox) = (Lab::up_unique()?, Sandbox::enter()?);
        on(&sandbox, &["--failures", "4", "--of", "8"])?;
        fail(&lab, far, 2)?;
        let before = known()?;
        ensure!(before["failures"] == 2 && before["state"] == "closed", "{before}");
        let mut port = 7_000;
        // With data, asking for a cookie, and plain.
        for api in [Api::MsgFastopen, Api::MsgFastopen, Api::MsgFastopen, Api::Plain] {
            port += 1;
            if port == 7_003 {
                lab.server().flush_tcp_metrics()?;
            }
            let (first, second) = pair(near, far, port, api);
            cross(&lab, &first, &second).with_context(|| format!("{port}: {api:?}"))?;
            // The second one's destination is another one, and healthy: there is no state of it.
            let now = known()?;
            ensure!(now == before, "{port}, {api:?}: {now}, before {before}");
        }
        policy::clear()?;
    }
    Ok(())
}

pub fn no_trial() -> Result<()> {
    let (near, far) = (lab::server_v4(0), lab::client_v4(0));
    let (lab, sandbox) = (Lab::up_unique()?, Sandbox::enter()?);
    on(&sandbox, &["--failures", "1", "--of", "1", "--backoff", "1s"])?;
    fail(&lab, far, 1)?;
    ensure!(known()?["state"] == "open", "{}", known()?);
    wait_until("a trial to be due", || Ok(state()?["next_trial_us"] == 0))?;
    let trials = policy::guards()?["counters"]["guard_trials"].clone();
    let (first, second) = pair(near, far, 7_000, Api::MsgFastopen);
    cross(&lab, &first, &second)?;
    let (after, status) = (known()?, policy::guards()?);
    ensure!(
        status["counters"]["guard_trials"] != trials,
        "it was no trial: {status}"
    );
    // Neither closed nor held against it: the next one is the trial.
    ensure!(
        after["state"] == "open" && after["relapses"] == 0 && after["attempts"] == 1,
        "{after}"
    );
    policy::clear()
}
