//! What rides in SYNs that a rule or a guard lets pass: a request that must not be done twice is found, and only that.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tfo_lab::{
    client::{Api, Connect, Family},
    lab::Lab,
    middlebox::{Effect, Middlebox, Rule},
};

use crate::{
    diagnose::{diagnosed, typed},
    enforce::{at_once, is_fast, late, primed, service},
    guards,
    policy::{self, add},
    support::sandbox::Sandbox,
};

/// The diagnosis.
const ID: &str = "not-idempotent";
const POST: &[u8] = b"POST /orders HTTP/1.1\r\nHost: a\r\n\r\n";
/// A message of 298 bytes with opcode UPDATE and one zone (RFC 2136 section 2).
const UPDATE: &[u8] = &[1, 0x2a, 0x12, 0x34, 5 << 3, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, b'l'];
const HARMLESS: [&[u8]; 3] = [
    b"GET /orders HTTP/1.1\r\nHost: a\r\n\r\n",
    b"PUT /orders/1 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POSTAGE is a word that begins so",
];

/// Findings about what rode in SYNs, while this begins each of the connections. All of them are to be as they would be without
/// the policy, or none.
fn found(
    sandbox: &Sandbox,
    lab: &Lab,
    connect: &Connect,
    begin: &[&'static [u8]],
    fast: bool,
) -> Result<Vec<Value>> {
    let (code, found) = diagnosed(sandbox, || {
        for begins in begin {
            let connect = Connect {
                begins,
                ..connect.clone()
            };
            let report = connect.run_in(lab.client())?;
            ensure!(report.reply_matched && is_fast(&report) == fast, "{report:?}");
        }
        Ok(())
    })?;
    // A warning is no failure.
    ensure!(code == Some(0), "{code:?} {found:?}");
    Ok(found.into_iter().filter(|one| one["id"] == ID).collect())
}

/// It is found where it left, its fix is typed, and then it does not leave.
fn seen_and_mended(lab: &Lab, sandbox: &Sandbox, family: Family, api: Api) -> Result<()> {
    let (_server, connect) = primed(lab, family, 0)?;
    let connect = Connect { api, ..connect };
    let near = found(sandbox, lab, &connect, &HARMLESS, true)?;
    ensure!(near.is_empty(), "{near:?}");
    let mut seen = found(sandbox, lab, &connect, &[POST, HARMLESS[0], POST, UPDATE], true)?;
    seen.sort_by_key(|one| one["counts"]["unsafe"].as_u64());
    ensure!(seen.len() == 2, "{family:?} {api:?}: {seen:?}");
    let [update, post] = [&seen[0], &seen[1]];
    let sentence = |one: &Value| one["sentence"].as_str().unwrap_or_default().to_owned();
    ensure!(sentence(update).contains("a DNS update"), "{update}");
    ensure!(
        post["counts"]["unsafe"] == 2 && sentence(post).contains("POST"),
        "{post}"
    );
    ensure!(
        post["severity"] == "warn" && post["example"].is_object(),
        "{post}"
    );
    ensure!(
        !seen.iter().any(|one| one.to_string().contains("/orders")),
        "what the request says stays in the kernel: {seen:?}"
    );
    typed(post)?;
    let gone = found(sandbox, lab, &connect, &[POST], false)?;
    ensure!(gone.is_empty(), "{gone:?}");
    policy::clear()
}

pub fn a_post_in_a_syn() -> Result<()> {
    let sandbox = Sandbox::enter()?;
    for family in [Family::V4, Family::V6] {
        for api in [Api::MsgFastopen, Api::FastopenConnect] {
            let lab = Lab::up_unique()?;
            let everything = match family {
                Family::V6 => "::/0",
                Family::V4 | Family::Mapped => "0.0.0.0/0",
            };
            add(sandbox.path(), everything, &["--action", "observe"])?;
            seen_and_mended(&lab, &sandbox, family, api)?;
            guards::on(&sandbox, &[])?;
            seen_and_mended(&lab, &sandbox, family, api)?;
        }
    }
    Ok(())
}

/// Who does not ask pays nothing: no mark is made for a socket because of what its SYN carries, also where a guard looks at SYNs.
pub fn nobody_asks() -> Result<()> {
    let (lab, sandbox) = (Lab::up_unique()?, Sandbox::enter()?);
    let (_server, connect) = primed(&lab, Family::V4, 0)?;
    guards::on(&sandbox, &[])?;
    let path = Middlebox::on_path(&lab, &Rule::new(Effect::DropSynData, service(Family::V4, 0)))?;
    late(&lab, &connect)?;
    drop(path);
    let post = Connect {
        begins: POST,
        ..connect
    };
    ensure!(is_fast(&at_once(&lab, &post)?), "it came through");
    ensure!(!policy::were_marks_made()?, "nobody has asked");
    let tool = sandbox.tool("trace", &["--format", "json"])?;
    ensure!(is_fast(&at_once(&lab, &post)?), "it came through");
    ensure!(policy::were_marks_made()?, "an observer asks");
    tool.stop()?;
    policy::clear()
}

pub fn where_nobody_looks() -> Result<()> {
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let (_server, connect) = primed(&lab, Family::V4, 0)?;
    // Without a policy; with one that is about another port; with one that keeps data back.
    let seen = found(&sandbox, &lab, &connect, &[POST], true)?;
    ensure!(seen.is_empty(), "{seen:?}");
    add(
        sandbox.path(),
        "0.0.0.0/0",
        &["--action", "observe", "--port", "1"],
    )?;
    let seen = found(&sandbox, &lab, &connect, &[POST], true)?;
    ensure!(seen.is_empty(), "{seen:?}");
    policy::clear()?;
    add(sandbox.path(), "0.0.0.0/0", &[])?;
    let seen = found(&sandbox, &lab, &connect, &[POST], false)?;
    ensure!(seen.is_empty(), "{seen:?}");
    policy::clear()?;
    // A record says so, too, and not of the harmless one.
    add(sandbox.path(), "0.0.0.0/0", &["--action", "observe"])?;
    let tool = sandbox.tool("trace", &["--format", "json"])?;
    for begins in [POST, HARMLESS[0]] {
        let connect = Connect {
            begins,
            ..connect.clone()
        };
        ensure!(connect.run_in(lab.client())?.reply_matched, "no reply");
    }
    let ended = tool.stop()?;
    let records: Vec<Value> = ended
        .stdout
        .iter()
        .map(|line| serde_json::from_str(line).context("a line"))
        .collect::<Result<_>>()?;
    let told: Vec<&Value> = records
        .iter()
        .filter(|record| record["type"] == "flow" && record["role"] == "client")
        .map(|record| &record["syn_data"])
        .collect();
    ensure!(told == [&Value::from("http-unsafe"), &Value::Null], "{told:?}");
    policy::clear()
}
