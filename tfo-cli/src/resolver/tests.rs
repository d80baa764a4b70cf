//! The resolver, asking a name server that the test runs on loopback.

use std::{
    collections::{HashMap, HashSet},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use domain::resolv::stub::conf::{ServerConf, Transport};

use super::*;
use crate::runtime;

/// Longer than any step takes on a busy machine.
const DEADLINE: Duration = Duration::from_mins(1);

fn server() -> (UdpSocket, ResolvConf) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    socket.set_read_timeout(Some(DEADLINE)).expect("it has timeouts");
    let mut conf = ResolvConf::new();
    let address = socket.local_addr().expect("it is bound");
    conf.servers.push(ServerConf::new(address, Transport::UdpTcp));
    conf.finalize();
    (socket, conf)
}

fn lookups(hosts: &str, conf: ResolvConf) -> Lookups {
    Lookups::start(Resolver::new(hosts, conf)).expect("it starts")
}

/// The next query: its header and question, which the response repeats, and its sender.
fn receive_query(server: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut message = [0; 1_500];
    let (length, from) = server.recv_from(&mut message).expect("a question comes");
    let mut end = 12;
    while message[end] != 0 {
        end += 1 + usize::from(message[end]);
    }
    let end = end + 5;
    assert!(end <= length);
    (message[..end].to_vec(), from)
}

/// The response to a query: a PTR record with these labels.
fn answer(question: &[u8], labels: &[u8]) -> Vec<u8> {
    let mut message = question.to_vec();
    // A response with recursion available, one question and one answer.
    (message[2], message[3]) = (0x81, 0x80);
    message[4..12].copy_from_slice(&[0, 1, 0, 1, 0, 0, 0, 0]);
    message.extend([0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 60]);
    message.extend(u16::try_from(labels.len()).expect("it is short").to_be_bytes());
    message.extend(labels);
    message
}

fn wait_for(lookups: &Lookups, count: usize) -> HashMap<IpAddr, Option<String>> {
    let deadline = Instant::now() + DEADLINE;
    let mut found = HashMap::new();
    while found.len() < count {
        found.extend(lookups.found());
        assert!(Instant::now() < deadline, "{found:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    found
}

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

/// Looked up one after the other, addresses would take a minute where no name server answers.
#[test]
fn many_are_asked_for_at_once_with_numbers_and_ports_nobody_can_guess() {
    let (server, conf) = server();
    let lookups = lookups("", conf);
    for last in 1..=30 {
        lookups.ask(ip(last));
    }
    // No query is answered before all have arrived.
    let mut questions = HashMap::new();
    while questions.len() < 30 {
        let (question, from) = receive_query(&server);
        questions.insert(question[12..].to_vec(), (question, from));
    }
    let id = |question: &[u8]| u16::from_be_bytes([question[0], question[1]]);
    let numbers: HashSet<u16> = questions.values().map(|(question, _)| id(question)).collect();
    let ports: HashSet<u16> = questions.values().map(|(_, from)| from.port()).collect();
    assert!(numbers.len() > 20 && ports.len() > 20, "{numbers:?} {ports:?}");
    let by_port = |(question, from): &(Vec<u8>, SocketAddr)| id(question) ^ from.port();
    let differences: HashSet<u16> = questions.values().map(by_port).collect();
    assert!(differences.len() > 20, "a number does not follow from its port");
    for (question, from) in questions.values() {
        let message = answer(question, b"\x02db\x07example\x03org\x00");
        server.send_to(&message, from).expect("it goes out");
    }
    let found = wait_for(&lookups, 30);
    let want = Some("db.example.org".to_owned());
    assert!(found.values().all(|name| *name == want), "{found:?}");
}

#[test]
fn names_that_could_steer_a_terminal_are_none() {
    let (server, conf) = server();
    let lookups = lookups("192.0.2.9 web.example.org web # ours\n", conf);
    let table: [(u8, &[u8], Option<&str>); 5] = [
        (1, b"\x02db\x03org\x00", Some("db.org")),
        (2, b"\x05a\x1b[2J\x00", None),
        (3, b"\x03a.b\x00", None),
        (4, b"\x00", None),
        (5, b"\x03a b\x00", None),
    ];
    for (last, labels, want) in table {
        lookups.ask(ip(last));
        let (question, from) = receive_query(&server);
        server
            .send_to(&answer(&question, labels), from)
            .expect("it goes out");
        let found = wait_for(&lookups, 1);
        assert_eq!(found[&ip(last)].as_deref(), want, "{last}");
    }
    // A name of /etc/hosts is not looked up over DNS.
    lookups.ask(ip(9));
    assert_eq!(wait_for(&lookups, 1)[&ip(9)].as_deref(), Some("web.example.org"));
    let six: IpAddr = "2001:db8::1".parse().expect("a good address");
    lookups.ask(six);
    let (question, from) = receive_query(&server);
    assert!(
        question[12..].starts_with(b"\x011\x010\x010"),
        "nibbles below ip6.arpa"
    );
    server
        .send_to(&answer(&question, b"\x03six\x00"), from)
        .expect("it goes out");
    assert_eq!(wait_for(&lookups, 1)[&six].as_deref(), Some("six"));
}

#[test]
fn hosts_are_read_as_the_manual_says() {
    let hosts = "127.0.0.1 localhost\n::1 ip6-localhost # six\n192.0.2.1 db.example.org db\n#192.0.2.2 x\n192.0.2.3\n\
                 192.0.2.4 Db\n";
    let resolver = Resolver::new(hosts, server().1);
    let name = |ip: &str| {
        let ip = ip.parse().expect("a good address");
        resolver.names.get(&ip).map(String::as_str)
    };
    assert_eq!(name("192.0.2.1"), Some("db.example.org"));
    assert_eq!(name("::1"), Some("ip6-localhost"));
    assert_eq!(name("192.0.2.2"), None);
    assert_eq!(name("192.0.2.3"), None);
    let addresses = |host: &str| {
        let handle = runtime::handle().expect("it starts");
        handle.block_on(resolver.addresses(host)).expect("it is known")
    };
    assert_eq!(addresses("DB"), [ip(1), ip(4)]);
    assert_eq!(addresses("192.0.2.9"), [ip(9)]);
    assert_eq!(addresses("localhost"), [IpAddr::from(Ipv4Addr::LOCALHOST)]);
    assert_eq!(addresses("localhost.").len(), 2, "both families, without asking");
}

/// The response to a query with an address record of the type that was asked for.
fn address(question: &[u8], data: &[u8]) -> Vec<u8> {
    let mut message = answer(question, data);
    let kind = question[question.len() - 3];
    message[question.len() + 3] = kind;
    message
}

#[test]
fn a_name_has_the_addresses_of_both_families() {
    let (server, conf) = server();
    let resolver = Resolver::new("", conf);
    let handle = runtime::handle().expect("it starts");
    let asking = handle.spawn(async move { resolver.addresses("db.example.org").await });
    for _ in 0..2 {
        let (question, from) = receive_query(&server);
        assert!(question[12..].starts_with(b"\x02db\x07example\x03org\x00"));
        let six = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        // 1 is A, 28 AAAA.
        let message = match question[question.len() - 3] {
            1 => address(&question, &[192, 0, 2, 7]),
            28 => address(&question, &six),
            other => panic!("unexpected query for type {other}"),
        };
        server.send_to(&message, from).expect("it goes out");
    }
    let found: HashSet<IpAddr> = handle
        .block_on(asking)
        .expect("it ends")
        .expect("there are some")
        .into_iter()
        .collect();
    let six: IpAddr = "2001:db8::1".parse().expect("a good address");
    assert_eq!(found, HashSet::from([ip(7), six]));
}
