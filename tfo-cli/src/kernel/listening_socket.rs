//! A listening socket of another process, duplicated into this one (`pidfd_getfd(2)`): its Fast Open queue and keys.
//!
//! Needs `CAP_SYS_PTRACE` for processes of others, and works across users and network namespaces: a socket stays in
//! the namespace it was made in.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
};

use crate::inspect::listeners::Holder;

/// Bytes of a primary and a backup key (`TCP_FASTOPEN_KEY_BUF_LENGTH`, `include/net/tcp.h`).
const KEYS: usize = 32;

/// A duplicate of the descriptor.
#[derive(Debug)]
pub struct ListeningSocket {
    socket: OwnedFd,
}

impl ListeningSocket {
    /// Takes it from the first process that still has it. The descriptor may mean something else by now: what we get
    /// is used only if it has this inode and listens.
    pub fn open(inode: u64, holders: &[Holder]) -> io::Result<Self> {
        let mut failed = io::Error::new(
            io::ErrorKind::NotFound,
            "no process with this socket is known: it belongs to the kernel, or /proc hides its process",
        );
        for holder in holders {
            match duplicate(holder.pid, holder.fd).and_then(|socket| Self::checked(socket, inode)) {
                Ok(socket) => return Ok(socket),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn checked(socket: OwnedFd, inode: u64) -> io::Result<Self> {
        let file = File::from(socket);
        let found = file.metadata()?.ino();
        let socket = Self { socket: file.into() };
        let mut listens = [0; 4];
        socket.get(libc::SOL_SOCKET, libc::SO_ACCEPTCONN, &mut listens)?;
        if found != inode || i32::from_ne_bytes(listens) == 0 {
            return Err(io::Error::other("the process has closed it meanwhile"));
        }
        Ok(socket)
    }

    /// Length of its Fast Open queue; 0 is off.
    pub fn queue(&self) -> io::Result<u32> {
        let mut value = [0; 4];
        self.get(libc::IPPROTO_TCP, libc::TCP_FASTOPEN, &mut value)?;
        Ok(u32::from_ne_bytes(value))
    }

    /// Sets it. The kernel cuts it to `net.core.somaxconn` of the socket's namespace (`fastopen_queue_tune`).
    pub fn set_queue(&self, length: u32) -> io::Result<()> {
        // SAFETY: a live socket, and a live value of the length we say.
        let result = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_FASTOPEN,
                (&raw const length).cast(),
                libc::socklen_t::try_from(size_of_val(&length)).unwrap_or(0),
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Keys of its own, primary first, 16 bytes each; none where it uses those of its namespace.
    pub fn keys(&self) -> io::Result<Vec<[u8; 16]>> {
        let mut value = [0; KEYS];
        let len = self.get(libc::IPPROTO_TCP, libc::TCP_FASTOPEN_KEY, &mut value)?;
        Ok(value[..len.min(KEYS)].as_chunks().0.to_vec())
    }

    /// getsockopt(2); gives the length the kernel wrote.
    fn get(&self, level: i32, name: i32, value: &mut [u8]) -> io::Result<usize> {
        let mut len = libc::socklen_t::try_from(value.len()).unwrap_or(0);
        // SAFETY: a live socket, and a live buffer of the length we say.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                level,
                name,
                value.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        if result == 0 {
            Ok(usize::try_from(len).unwrap_or(0))
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

/// Duplicates a descriptor of another process; the process cannot be another one with the same id in between.
fn duplicate(pid: u32, fd: u32) -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let process = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let process = owned(process)?;
    // SAFETY: as above.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) })
}

/// Takes ownership of the descriptor a system call has just returned.
fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(result) {
        // SAFETY: the kernel made it for us a moment ago; nobody else has it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn own(fd: i32) -> Holder {
        Holder {
            pid: std::process::id(),
            comm: String::new(),
            fd: fd.unsigned_abs(),
        }
    }

    fn inode(file: &impl std::os::fd::AsFd) -> u64 {
        let copy = File::from(file.as_fd().try_clone_to_owned().expect("a duplicate"));
        copy.metadata().expect("it is open").ino()
    }

    #[test]
    fn a_queue_is_set_on_the_very_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let holder = own(listener.as_raw_fd());
        let socket = ListeningSocket::open(inode(&listener), &[holder]).expect("our own");
        assert_eq!(socket.queue().expect("it is a TCP socket"), 0);
        socket.set_queue(7).expect("it listens");
        assert_eq!(socket.queue().expect("it is a TCP socket"), 7);
        assert_eq!(socket.keys().expect("none of its own"), Vec::<[u8; 16]>::new());
    }

    #[test]
    fn another_socket_under_the_number_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let wanted = inode(&listener);
        let other = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let error = ListeningSocket::open(wanted, &[own(other.as_raw_fd())]).expect_err("another inode");
        assert!(error.to_string().contains("closed it meanwhile"), "{error}");
        // The second process that is known still has it.
        let holders = [own(other.as_raw_fd()), own(listener.as_raw_fd())];
        ListeningSocket::open(wanted, &holders).expect("the second has it");
        assert_eq!(
            ListeningSocket::open(wanted, &[]).expect_err("nobody").kind(),
            io::ErrorKind::NotFound
        );
        let stream = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
        let plain = inode(&stream);
        assert!(
            ListeningSocket::open(plain, &[own(stream.as_raw_fd())]).is_err(),
            "it does not listen"
        );
    }
}
