//! Faults of this host as a client: each is found with what makes it, and gone once that is mended.

use std::{fs::File, path::Path};

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf,
    programs::{CgroupAttachMode, CgroupSkb, CgroupSkbAttachType},
};
use serde_json::Value;
use tfo_lab::{
    client::Connect,
    lab::{self, Lab},
    middlebox::{Effect, Middlebox, Rule},
    server::{Listen, Server},
};

use crate::support::{
    found::{stopped, watch},
    needs_kernel,
    object::{self, NAME, instruction},
    sandbox::Sandbox,
};

/// The diagnoses.
const DISABLED: &str = "client-disabled";
const LOCAL_DROP: &str = "local-drop";

#[test]
fn a_namespace_with_the_client_side_off() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let inode = lab.client().inode()?;
    let here = |found: &[Value]| found.iter().filter(|one| one["netns"] == inode).count();
    for (value, wanted) in [("0", 1), ("2", 1), ("1", 0), ("3", 0)] {
        lab.client().set_sysctl("net/ipv4/tcp_fastopen", value)?;
        let found = stopped(watch(&sandbox)?, DISABLED)?;
        ensure!(here(&found) == wanted, "{value}: {found:?}");
    }
    Ok(())
}

#[test]
fn a_firewall_rule_that_drops_syn_data_is_named() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let server = Server::start(lab.server(), &Listen::new((lab::server_v4(0), 0).into()))?;
    let connect = Connect::new(server.address(), 100);
    connect.run_in(lab.client())?;
    let rule = Rule::new(Effect::DropSynData, server.address().ip()).port(server.address().port());
    let firewall = Middlebox::on_client(&lab, &rule)?;
    let diagnose = watch(&sandbox)?;
    connect.run_in(lab.client())?;
    let found = stopped(diagnose, LOCAL_DROP)?;
    let [one] = &found[..] else {
        anyhow::bail!("{found:?}")
    };
    let lines = one["evidence"].as_array().context("no evidence")?;
    let names_it = |line: &Value| {
        line.as_str()
            .is_some_and(|line| line.contains("nft inet tfo_lab"))
    };
    ensure!(lines.iter().any(names_it), "{one}");
    // What mends it: without the rule data leaves.
    drop(firewall);
    let diagnose = watch(&sandbox)?;
    connect.run_in(lab.client())?;
    let found = stopped(diagnose, LOCAL_DROP)?;
    ensure!(found.is_empty(), "{found:?}");
    Ok(())
}

/// Bytes of an IPv4 packet that every one of a connection has but a SYN with this payload, whose options are longer.
const LONGEST: i32 = 165;
const PAYLOAD: usize = 100;

/// A program that drops every longer packet, on the egress of a cgroup.
fn dropper(cgroup: &Path) -> Result<Ebpf> {
    let code = [
        instruction(0x61, 0x16, 0, 0),       // 0: r6 = ctx->len
        instruction(0x18, 0x01, 0, 0),       // 1: r1 = COUNTS (two slots), which every object of these has
        instruction(0x00, 0x00, 0, 0),       //
        instruction(0xb7, 0x00, 0, 1),       // 3: r0 = pass
        instruction(0xb5, 0x06, 1, LONGEST), // 4: if r6 <= LONGEST goto 6
        instruction(0xb7, 0x00, 0, 0),       // 5: r0 = drop
        instruction(0x95, 0x00, 0, 0),       // 6: exit
    ];
    let elf = object::with_counts("cgroup_skb/egress", &code.concat(), 1, 1)?;
    let mut ebpf = Ebpf::load(&elf).context("dropper: reading it")?;
    let program: &mut CgroupSkb = ebpf.program_mut(NAME).context("no program")?.try_into()?;
    program.load().context("dropper: loading it")?;
    let directory = File::open(cgroup).with_context(|| cgroup.display().to_string())?;
    program.attach(directory, CgroupSkbAttachType::Egress, CgroupAttachMode::Single)?;
    Ok(ebpf)
}

#[test]
fn a_program_that_drops_syn_data_is_named() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let server = Server::start(lab.server(), &Listen::new((lab::server_v4(0), 0).into()))?;
    let connect = Connect::new(server.address(), PAYLOAD);
    let request = || -> Result<()> {
        let report = connect.run_in(lab.client())?;
        ensure!(report.reply_matched, "{report:?}");
        Ok(())
    };
    request()?;
    let program = dropper(sandbox.path())?;
    let diagnose = watch(&sandbox)?;
    request()?;
    let found = stopped(diagnose, LOCAL_DROP)?;
    let [one] = &found[..] else {
        anyhow::bail!("{found:?}")
    };
    let evidence = one["evidence"].to_string();
    ensure!(
        evidence.contains(&format!("BPF program {NAME} (id ")) && evidence.contains("on egress of "),
        "{one}"
    );
    drop(program);
    let diagnose = watch(&sandbox)?;
    request()?;
    let found = stopped(diagnose, LOCAL_DROP)?;
    ensure!(found.is_empty(), "{found:?}");
    Ok(())
}
