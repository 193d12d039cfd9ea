//! Unix sockets that listen at a path: the control socket, and the status page's.
//!
//! ```text
//!   the directory ─► made if it is not there
//!   a socket is there ─► somebody answers: refused     nobody does: a dead daemon's, replaced
//!   bound for the owner alone ─► mode 0660 and the group s2s-gw, where there is one ─► removed when it ends, if it is still ours
//! ```

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::unistd::Group;
use rustix::fs::Mode;

use crate::status::protocol::GROUP;

/// A socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon answers on it.
    #[error("another s2s-gw listens on {0}; stop it, or set {key} to another path", .path.display())]
    Live {
        /// The path.
        path: PathBuf,
        /// What of the configuration names it.
        key: &'static str,
    },
    /// Something else is there.
    #[error("{0} exists and is not a socket; remove it, or set {key} to another path", .path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
        /// What of the configuration names it.
        key: &'static str,
    },
    /// The system refused.
    #[error("cannot {what} {0}: {source}; run as root, or set {key} to a path that you may write", .path.display())]
    Io {
        /// What we tried.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// What of the configuration names it.
        key: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// The socket in the file system; removed on drop if it is still the one that we made.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode of what we made; `None` if somebody else did.
    ours: Option<(u64, u64)>,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), ours: Some((metadata.dev(), metadata.ino())) })
    }

    /// One that somebody else made and removes.
    pub(crate) fn of_another(path: &Path) -> Self {
        Self { path: path.to_owned(), ours: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let Some(ours) = self.ours else { return };
        let there = fs::symlink_metadata(&self.path).map(|there| (there.dev(), there.ino()));
        if there.is_ok_and(|there| there == ours) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens, non-blocking. `key` is what of the configuration names the path, for errors. To be called while there is one
/// thread: the mask of the process changes for a moment.
///
/// # Errors
/// [`SocketError`].
pub(crate) fn listen(
    path: &Path,
    key: &'static str,
) -> Result<(UnixListener, SocketFile), SocketError> {
    let failed = |what| move |source| SocketError::Io { what, path: path.to_owned(), key, source };
    clear_the_way(path, key)?;
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed("make the directory of"))?;
    }
    // Nobody but the owner may open it at first.
    let mask = rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let bound = UnixListener::bind(path);
    rustix::process::umask(mask);
    let listener = bound.map_err(failed("listen on"))?;
    open_to_group(path);
    let file = SocketFile::of(path).map_err(failed("look at"))?;
    listener.set_nonblocking(true).map_err(failed("prepare"))?;
    Ok((listener, file))
}

/// Removes the socket of a daemon that died; refuses to touch anything else.
fn clear_the_way(path: &Path, key: &'static str) -> Result<(), SocketError> {
    let failed = |what| move |source| SocketError::Io { what, path: path.to_owned(), key, source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(failed("look at")(source)),
        Ok(there) if !there.file_type().is_socket() => {
            return Err(SocketError::NotASocket { path: path.to_owned(), key });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::Live { path: path.to_owned(), key }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed("remove the stale socket"))
        }
        Err(source) => Err(failed("ask")(source)),
    }
}

/// Lets the members of [`GROUP`] open the socket. Without such a group it stays as it was made: the owner's alone.
fn open_to_group(path: &Path) {
    let group = match Group::from_name(GROUP) {
        Ok(Some(group)) => group.gid.as_raw(),
        Ok(None) => return,
        Err(error) => {
            tracing::debug!(target: "status", event = "no-group", group = GROUP, %error);
            return;
        }
    };
    if let Err(error) = open_to(path, group) {
        tracing::warn!(
            target: "status", event = "no-group", group = GROUP, %error,
            fix = "let the daemon's user be a member of the group, or members of it cannot see the status"
        );
    }
}

/// The group first: a file that is open to the wrong group is worse than one that is open to none.
fn open_to(path: &Path, group: u32) -> io::Result<()> {
    chown(path, None, Some(group))?;
    fs::set_permissions(path, Permissions::from_mode(0o660))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_may_open_it_and_nobody_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("control.sock");
        let _listener = UnixListener::bind(&path).expect("binds");
        // Everybody may give a file to a group of their own; root to any.
        let own = rustix::process::getegid().as_raw();
        let group = if rustix::process::geteuid().is_root() { 12_345 } else { own };
        open_to(&path, group).expect("opens it");
        let there = fs::metadata(&path).expect("there");
        assert_eq!((there.mode() & 0o777, there.gid()), (0o660, group));
    }
}
