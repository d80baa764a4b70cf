//! Children that end while their parent blocks every signal must not interrupt a connection that waits:
//! see `tfo_lab::undisturbed`. No root needed.
//!
//! A program without libtest, because the kernel hands such a SIGCHLD to the first thread, if that one does not
//! block it. Here the first thread is the one that starts the children.

#![expect(clippy::print_stdout, reason = "a test program says what it found")]

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nix::sys::{
    signal::{SigSet, SigmaskHow},
    socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, socket},
};
use tfo_lab::client::{Api, Connect};

/// Less than the SYN timer of one second, many times the life of a child.
const WAITING: Duration = Duration::from_millis(300);

fn main() -> anyhow::Result<()> {
    let result = children_that_end_do_not_interrupt_a_connection();
    let (word, passed) = if result.is_ok() { ("ok", 1) } else { ("FAILED", 0) };
    println!("test children_that_end_do_not_interrupt_a_connection ... {word}");
    println!("\ntest result: {word}. {passed} passed; {} failed", 1 - passed);
    result
}

fn children_that_end_do_not_interrupt_a_connection() -> anyhow::Result<()> {
    let (listener, address) = busy_listener()?;
    let first = TcpStream::connect(address)?;
    let connect = Connect {
        api: Api::Plain,
        reply: 0,
        ..Connect::new(address, 1)
    };
    let waiting = thread::spawn(move || connect.run());
    let end = Instant::now() + WAITING;
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    while Instant::now() < end && !waiting.is_finished() {
        anyhow::ensure!(Command::new("true").status()?.success(), "true: failed");
    }
    before.thread_set_mask()?;
    // Now there is room for the SYN that is sent again.
    drop((listener.accept()?, first));
    let report = waiting.join().expect("the client does not panic")?;
    anyhow::ensure!(report.error.is_none(), "{report:?}");
    Ok(())
}

/// A listener whose queue is full after one connection: the kernel drops the next SYN.
fn busy_listener() -> anyhow::Result<(TcpListener, SocketAddr)> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let socket = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(any))?;
    listen(&socket, Backlog::new(0)?)?;
    let listener = TcpListener::from(socket);
    let address = listener.local_addr()?;
    Ok((listener, address))
}
