//! `probe --serve`: the partner of a probe, for where no server of your own can be used. Answers the first bytes of
//! each connection with a line and closes it.

use std::{
    net::SocketAddr,
    os::fd::{AsFd as _, AsRawFd as _},
    time::Duration,
};

use anyhow::Context as _;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket, sockopt,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};

use super::sockopt::FastOpenQueue;

/// How long a connection may take.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections served at a time; others wait in the queue.
const AT_A_TIME: usize = 256;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 256;
/// What everybody gets.
const ANSWER: &[u8] = b"tfo-cli probe --serve: received\n";

/// Opens the listener. Its Fast Open queue holds `queue` connections whose handshake is not finished; 0 is off.
pub fn open(address: SocketAddr, queue: u32) -> anyhow::Result<std::net::TcpListener> {
    let what = |operation: &str| format!("probe --serve {address}: {operation}");
    let family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Stream, flags, None).with_context(|| what("open a socket"))?;
    setsockopt(&socket.as_fd(), sockopt::ReuseAddr, &true).with_context(|| what("set SO_REUSEADDR"))?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address)).with_context(|| what("bind"))?;
    if queue > 0 {
        setsockopt(&socket.as_fd(), FastOpenQueue, &queue).with_context(|| what("set TCP_FASTOPEN"))?;
    }
    let backlog = Backlog::new(BACKLOG).with_context(|| what("listen"))?;
    listen(&socket.as_fd(), backlog).with_context(|| what("listen"))?;
    Ok(socket.into())
}

/// Serves until the future is dropped.
pub async fn serve(listener: std::net::TcpListener) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(listener).context("probe --serve: wait for connections")?;
    let places = std::sync::Arc::new(Semaphore::new(AT_A_TIME));
    loop {
        let place = places.clone().acquire_owned().await?;
        match listener.accept().await {
            Ok((connection, _)) => {
                tokio::spawn(async move {
                    // A client that goes away or stands still is nobody's problem.
                    let _ = timeout(CONNECTION_TIMEOUT, answer(connection)).await;
                    drop(place);
                });
            }
            // The client was gone before it was accepted, or descriptors are short: try the next one.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn answer(mut connection: TcpStream) -> std::io::Result<()> {
    let mut buffer = [0; 4_096];
    if connection.read(&mut buffer).await? == 0 {
        return Ok(());
    }
    connection.write_all(ANSWER).await?;
    connection.shutdown().await?;
    // Read what is left: closing with unread data would reset the connection and take the answer with it.
    while connection.read(&mut buffer).await? > 0 {}
    Ok(())
}
