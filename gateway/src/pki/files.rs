//! The files of a directory with certificates and keys: who may read them, and that none is lost.
//!
//! ```text
//!   write_key   0600, must not exist          write     0644, must not exist
//!   replace     0644, in one step: the old content or the new one, at every moment
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is there, and was not to be overwritten.
    #[error("{0} exists and is not overwritten")]
    Exists(PathBuf),
    /// The operating system refused.
    #[error("cannot {what} {path}: {source}")]
    System {
        /// `read`, `write`, `make`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl FileError {
    fn system(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::System { what, path, source }
    }
}

/// A directory with certificates and keys.
#[derive(Debug, Clone)]
pub(super) struct Directory(PathBuf);

impl Directory {
    /// This directory; it is made if it is not there, for its owner only.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(path);
        made.map_err(FileError::system("make", path))?;
        Ok(Self(path.to_owned()))
    }

    /// Where a file of it is.
    #[must_use]
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Whether there is such a file.
    #[must_use]
    pub(super) fn has(&self, name: &str) -> bool {
        self.path(name).symlink_metadata().is_ok()
    }

    /// The text of a file, at most 1 MiB.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn read(&self, name: &str) -> Result<Zeroizing<String>, FileError> {
        read(&self.path(name))
    }

    /// Writes a key, which only the owner may read.
    ///
    /// # Errors
    /// [`FileError::Exists`], or if it cannot be written.
    pub(super) fn write_key(&self, name: &str, text: &str) -> Result<(), FileError> {
        self.create(name, text, 0o600)
    }

    /// Writes what everybody may read.
    ///
    /// # Errors
    /// [`FileError::Exists`], or if it cannot be written.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), FileError> {
        self.create(name, text, 0o644)
    }

    /// Writes what everybody may read in the place of what is there, in one step.
    ///
    /// # Errors
    /// If it cannot be written; what was there is there still.
    pub(super) fn replace(&self, name: &str, text: &str) -> Result<(), FileError> {
        let beside = format!(".{name}.new");
        let _ = fs::remove_file(self.path(&beside));
        self.write(&beside, text)?;
        let path = self.path(name);
        fs::rename(self.path(&beside), &path).map_err(FileError::system("write", &path))
    }

    fn create(&self, name: &str, text: &str, mode: u32) -> Result<(), FileError> {
        let path = self.path(name);
        let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        let mut file = opened.map_err(|error| {
            let is_there = error.kind() == io::ErrorKind::AlreadyExists;
            if is_there {
                FileError::Exists(path.clone())
            } else {
                FileError::system("write", &path)(error)
            }
        })?;
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        written.map_err(FileError::system("write", &path))
    }
}

/// The text of a file, at most 1 MiB.
///
/// # Errors
/// If it cannot be read, or is no text.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<String>, FileError> {
    let refused = FileError::system("read", path);
    let opened = || {
        // Somebody may never write to a FIFO.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut text = Zeroizing::new(String::new());
        File::open(path)?.take(FILE_MAX).read_to_string(&mut text)?;
        Ok(text)
    };
    opened().map_err(refused)
}

/// Octets.
const FILE_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keys_are_for_their_owner_and_nothing_is_overwritten_by_accident() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = Directory::open(&dir.path().join("a/b")).expect("made");
        let mode = |name: &str| {
            let data = fs::metadata(files.path(name)).expect("there");
            data.permissions().mode() & 0o777
        };
        assert_eq!(mode("."), 0o700);
        files.write_key("x.key", "one").expect("new");
        files.write("x.pem", "one").expect("new");
        assert_eq!((mode("x.key"), mode("x.pem") & 0o700), (0o600, 0o600));
        for again in [files.write_key("x.key", "two"), files.write("x.pem", "two")] {
            assert!(matches!(again, Err(FileError::Exists(_))), "{again:?}");
        }
        assert_eq!(files.read("x.key").expect("read").as_str(), "one");
        files.replace("x.pem", "two").expect("replaced");
        assert_eq!(files.read("x.pem").expect("read").as_str(), "two");
        assert!(files.has("x.pem") && !files.has(".x.pem.new"));
    }
}
