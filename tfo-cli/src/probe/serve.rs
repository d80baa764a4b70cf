//! `probe --serve`: a server for probes, where no other server can be used. It replies to the first bytes of each
//! connection with a line, and closes it.

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

/// Time limit of a connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that are served at the same time; others wait in the accept queue.
const AT_A_TIME: usize = 256;
/// Length of the accept queue.
const BACKLOG: i32 = 256;
/// The reply to every connection.
const ANSWER: &[u8] = b"tfo-cli probe --serve: received\n";

/// Opens the listener. Its Fast Open queue holds `queue` connections whose handshake is not finished; 0 switches Fast Open
/// off.
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
                    // Errors and timeouts of a client do not matter to the server.
                    let _ = timeout(CONNECTION_TIMEOUT, answer(connection)).await;
                    drop(place);
                });
            }
            // The client has gone, or there are no file descriptors left: go on with the next connection.
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
    // The rest is read, because closing a socket with unread data resets the connection and loses the reply.
    while connection.read(&mut buffer).await? > 0 {}
    Ok(())
}
