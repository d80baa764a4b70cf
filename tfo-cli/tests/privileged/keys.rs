//! `keys`: fingerprints of the kernel's keys, and a rotation on three servers behind one address during which no cookie is
//! refused. In the wrong order a cookie is refused, which the test checks as well.

use std::{fs, net::SocketAddr, path::PathBuf, process};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tfo_lab::{
    client::Connect,
    command,
    lab::{self, Lab},
    mib::Mib,
    netns::Namespace,
    server::{Keys, Listen, Server},
};

use crate::support::{ground::temporary_directory, needs_kernel, needs_lab, once};

/// The address of the pool, on every server.
const POOL: &str = "10.79.0.1";
const PORT: u16 = 8443;
const SERVERS: usize = 3;

/// A client and three servers with the same address; routes say to which server the client goes.
struct Pool {
    names: Vec<String>,
    client: Namespace,
    servers: Vec<Namespace>,
    running: Vec<Server>,
    directory: PathBuf,
}

impl Pool {
    fn up(tag: &str) -> Result<Self> {
        let tag = format!("{tag}-{}", process::id());
        let mut names = vec![format!("tfo-kc{tag}")];
        names.extend((0..SERVERS).map(|number| format!("tfo-ks{tag}-{number}")));
        let mut batch: Vec<String> = names.iter().map(|name| format!("netns add {name}")).collect();
        for (number, server) in names[1..].iter().enumerate() {
            let client = &names[0];
            batch.push(format!(
                "link add s{number} netns {client} type veth peer name u0 netns {server}"
            ));
        }
        // From here on everything made is removed with it.
        let mut pool = Self {
            client: Namespace::current()?,
            servers: Vec::new(),
            running: Vec::new(),
            directory: temporary_directory()?,
            names,
        };
        command::run_with_input("ip", &["-batch", "-"], &(batch.join("\n") + "\n"))?;
        pool.client = Namespace::open_named(&pool.names[0])?;
        let mut client = vec!["link set lo up".to_owned()];
        for number in 0..SERVERS {
            client.push(format!("addr add 10.78.{number}.1/24 dev s{number}"));
            client.push(format!("link set s{number} up"));
        }
        // One source, whatever the way: the kernel keeps one cookie for it.
        client.push("addr add 10.79.1.1/32 dev lo".to_owned());
        let client = client.join("\n") + "\n";
        pool.client
            .run(|| command::run_with_input("ip", &["-batch", "-"], &client).map(drop))?;
        for number in 0..SERVERS {
            let server = Namespace::open_named(&pool.names[number + 1])?;
            let batch = format!(
                "link set lo up\naddr add 10.78.{number}.2/24 dev u0\nlink set u0 up\naddr add {POOL}/32 dev lo\n\
                 route add 10.79.1.1/32 via 10.78.{number}.1\n"
            );
            server.run(|| command::run_with_input("ip", &["-batch", "-"], &batch).map(drop))?;
            server.set_sysctl("net/ipv4/tcp_fastopen", "3")?;
            server.set_sysctl("net/ipv4/tcp_fastopen_key", "11111111-22222222-33333333-44444444")?;
            let address: SocketAddr = format!("{POOL}:{PORT}").parse()?;
            pool.running.push(Server::start(&server, &Listen::new(address))?);
            pool.servers.push(server);
        }
        Ok(pool)
    }

    fn netns(&self, server: usize) -> &str {
        &self.names[server + 1]
    }

    /// Connects to one server; whether it took the data in the SYN.
    fn connect(&self, server: usize) -> Result<bool> {
        let way = format!("10.78.{server}.2");
        self.client
            .command("ip", &["route", "replace", POOL, "via", &way, "src", "10.79.1.1"])?;
        let address: SocketAddr = format!("{POOL}:{PORT}").parse()?;
        let report = Connect::new(address, 100).run_in(&self.client)?;
        ensure!(report.reply_matched, "{report:?}");
        Ok(report.tcp_info.is_some_and(|info| info.syn_data_acked()))
    }

    /// A connection to every server, twice round: each gets cookies the others have given.
    fn round(&self) -> Result<()> {
        for server in (0..SERVERS).chain(0..SERVERS) {
            ensure!(self.connect(server)?, "server {server} did not take the data");
        }
        Ok(())
    }

    /// Cookies the servers have refused.
    fn rejected(&self) -> Result<u64> {
        let mut sum = 0;
        for server in &self.servers {
            sum += Mib::read(server)?
                .get("TCPFastOpenPassiveFail")
                .context("no counter")?;
        }
        Ok(sum)
    }

    fn rotate(&self, server: usize, args: &[&str]) -> Result<once::Once> {
        once::run(&[&["keys", "rotate", "--netns", self.netns(server)], args].concat())
    }

    /// Primary and backup of a namespace, salted for the pool.
    fn fingerprints(&self, server: usize) -> Result<(Value, Value)> {
        let args = [
            "keys",
            "status",
            "--salt",
            "pool",
            "--format",
            "json",
            "--netns",
            self.netns(server),
        ];
        let shown = once::run(&args)?.ended(0)?;
        let objects = shown.objects("key")?;
        ensure!(objects.len() == 2, "a namespace and a listener: {objects:?}");
        ensure!(
            objects[0]["scope"] == "namespace" && objects[1]["own"] == false,
            "{objects:?}"
        );
        ensure!(objects[1]["primary"] == objects[0]["primary"], "{objects:?}");
        ensure!(!shown.stdout.contains("11111111"), "a key is shown: {shown:?}");
        Ok((objects[0]["primary"].clone(), objects[0]["backup"].clone()))
    }

    fn file(&self) -> String {
        self.directory.join("pool.key").to_string_lossy().into_owned()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.running.clear();
        for name in &self.names {
            // One that was never made is fine.
            let _ = command::run("ip", &["netns", "delete", name]);
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn three_servers_behind_one_address_rotate_without_a_refused_cookie() -> Result<()> {
    needs_lab!();
    let pool = Pool::up("")?;
    ensure!(!pool.connect(0)?, "a first contact has no cookie");
    pool.round()?;
    let old = pool.fingerprints(0)?;
    for server in 0..SERVERS {
        ensure!(
            pool.fingerprints(server)? == old && old.1.is_null(),
            "one key for all: {old:?}"
        );
    }

    // As `keys rotate --help` says: one step on every server, then the next, and clients come all the while.
    let file = pool.file();
    for server in 0..SERVERS {
        let key = if server == 0 { "--new-key" } else { "--key" };
        pool.rotate(server, &["--step", "prepare", key, &file])?
            .ended(0)?;
        pool.round()?;
    }
    let prepared = pool.fingerprints(0)?;
    ensure!(
        prepared.0 == old.0 && prepared.1.is_string() && prepared.1 != old.0,
        "{prepared:?}"
    );
    for server in 0..SERVERS {
        ensure!(pool.fingerprints(server)? == prepared, "{prepared:?}");
    }
    for server in 0..SERVERS {
        pool.rotate(server, &["--key", &file])?.ended(0)?;
        pool.round()?;
    }
    let promoted = pool.fingerprints(2)?;
    ensure!(promoted == (prepared.1.clone(), old.0.clone()), "{promoted:?}");
    for server in 0..SERVERS {
        pool.rotate(server, &["--step", "drop"])?.ended(0)?;
        pool.round()?;
    }
    ensure!(
        pool.fingerprints(1)? == (prepared.1, Value::Null),
        "the old key is still there"
    );
    ensure!(pool.rejected()? == 0, "{} cookies were refused", pool.rejected()?);
    Ok(())
}

/// The diagnosis.
const IN_USE: &str = "key-in-use";

/// What `diagnose` says of the keys of each server, salted with this word: netns and fingerprints as they are told.
fn in_use(pool: &Pool, salt: Option<&str>) -> Result<Vec<Option<String>>> {
    let mut args = vec!["diagnose", "--duration", "100ms", "--format", "json"];
    args.extend(salt.iter().flat_map(|salt| ["--salt", salt]));
    let told = once::run(&args)?.ended(0)?;
    let found: Vec<Value> = told
        .stdout
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let of = |server: &Namespace| -> Result<Option<String>> {
        let inode = server.inode()?;
        let mut here = found
            .iter()
            .filter(|one| one["id"] == IN_USE && one["netns"] == inode);
        let line = here.next().and_then(|one| one["evidence"][0].as_str());
        ensure!(here.next().is_none(), "told twice: {found:?}");
        Ok(line.map(str::to_owned))
    };
    pool.servers.iter().chain([&pool.client]).map(of).collect()
}

#[test]
fn servers_of_a_pool_are_compared_by_what_diagnose_tells() -> Result<()> {
    needs_kernel!();
    let pool = Pool::up("d")?;
    let told = in_use(&pool, Some("pool"))?;
    let (primary, _) = pool.fingerprints(0)?;
    let same = Some(format!(
        "fingerprint {}",
        primary.as_str().context("no fingerprint")?
    ));
    // The client has no server that gives cookies.
    ensure!(
        told == [same.clone(), same.clone(), same.clone(), None],
        "{told:?}"
    );
    // Near misses: nobody asked; another word.
    ensure!(in_use(&pool, None)? == [None, None, None, None], "nobody asked");
    let other = in_use(&pool, Some("another pool"))?;
    ensure!(
        other[0].is_some() && other[0] == other[2] && other[0] != same,
        "{other:?}"
    );
    // One server has another key, which shows; then it has that of the pool.
    let sysctl = "net/ipv4/tcp_fastopen_key";
    pool.servers[1].set_sysctl(sysctl, "55555555-22222222-33333333-44444444")?;
    let told = in_use(&pool, Some("pool"))?;
    ensure!(told[0] == same && told[1] != same && told[2] == same, "{told:?}");
    pool.servers[1].set_sysctl(sysctl, "11111111-22222222-33333333-44444444")?;
    ensure!(
        in_use(&pool, Some("pool"))?[1] == same,
        "it has the key of the pool"
    );
    Ok(())
}

/// The near miss: a server that gives cookies of a key its neighbours do not know.
#[test]
fn promoting_before_preparing_is_what_refuses_cookies() -> Result<()> {
    needs_lab!();
    let pool = Pool::up("n")?;
    pool.connect(0)?;
    pool.round()?;
    let done = pool.rotate(0, &["--new-key", &pool.file()])?.ended(0)?;
    ensure!(
        done.stdout.contains("--step drop") && done.stdout.contains("--step swap"),
        "{done:?}"
    );
    // The first server takes the old cookie and gives one of the new key, which the second does not know.
    ensure!(pool.connect(0)?, "the backup is not taken");
    ensure!(
        !pool.connect(1)? && pool.rejected()? == 1,
        "{} refused",
        pool.rejected()?
    );
    // And back again.
    pool.rotate(0, &["--step", "swap"])?.ended(0)?;
    pool.rotate(0, &["--step", "drop"])?.ended(0)?;
    pool.connect(0)?;
    let rejected = pool.rejected()?;
    pool.round()?;
    ensure!(
        pool.rejected()? == rejected,
        "the pool does not share a key again"
    );
    Ok(())
}

#[test]
fn steps_that_would_lose_a_key_are_refused_and_keys_stay_secret() -> Result<()> {
    needs_lab!();
    let lab = Lab::up_unique()?;
    let netns = lab.server().label();
    let rotate = |args: &[&str]| once::run(&[&["keys", "rotate", "--netns", netns], args].concat());
    let none = rotate(&["--step", "drop"])?.ended(1)?;
    ensure!(none.stderr.contains("no key yet"), "{none:?}");

    lab.server()
        .set_sysctl("net/ipv4/tcp_fastopen_key", "00000001-2-3-4")?;
    let own = Listen {
        keys: Keys::One([9; 16]),
        ..Listen::new((lab::server_v4(0), 0).into())
    };
    let _server = Server::start(lab.server(), &own)?;
    let status = once::run(&["keys", "--netns", netns, "--format", "json"])?
        .ended(0)?
        .objects("key")?;
    let (place, listener) = (&status[0], &status[1]);
    ensure!(
        listener["own"] == true && listener["primary"] != place["primary"],
        "{status:?}"
    );

    // A listener with a key of its own is not reached: that is said.
    let promoted = rotate(&[])?.ended(0)?;
    ensure!(promoted.stderr.contains("keys of its own"), "{promoted:?}");
    let key = lab
        .server()
        .sysctl("net/ipv4/tcp_fastopen_key")?
        .context("no sysctl")?;
    let (new, old) = key.split_once(',').context("no backup")?;
    ensure!(
        old == "00000001-00000002-00000003-00000004",
        "the old key is not the backup"
    );
    for text in [&promoted.stdout, &promoted.stderr] {
        ensure!(!text.contains(new) && !text.contains(old), "a key is shown");
    }
    let again = rotate(&[])?.ended(1)?;
    ensure!(again.stderr.contains("backup key already"), "{again:?}");
    ensure!(
        lab.server().sysctl("net/ipv4/tcp_fastopen_key")?.as_deref() == Some(&*key),
        "it was changed"
    );
    ensure!(
        rotate(&["--step", "prepare"])?
            .ended(2)?
            .stderr
            .contains("--new-key"),
        "it needs a key"
    );
    let missing = rotate(&["--key", "/nonexistent/key"])?.ended(2)?;
    ensure!(missing.stderr.contains("/nonexistent/key"), "{missing:?}");

    let copy = once::Copy::make()?;
    let refused = copy.run_as_nobody(netns, &["keys"])?.ended(3)?;
    ensure!(refused.stderr.contains("sudo tfo-cli keys"), "{refused:?}");
    Ok(())
}
