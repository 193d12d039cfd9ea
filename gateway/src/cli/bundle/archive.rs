//! The file itself: a tar in gzip that is there as a whole or not at all.
//!
//! ```text
//!   .FILE.PID (0600, O_EXCL) ── tar ── gzip ── fsync ──► FILE, by RENAME_NOREPLACE unless forced       else it is removed
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use rustix::fs::{CWD, RenameFlags, rename, renameat_with};

use super::Entry;

/// Where a bundle goes.
#[derive(Debug)]
pub(super) struct Place {
    file: PathBuf,
    partial: PathBuf,
    force: bool,
}

impl Place {
    /// # Errors
    /// A sentence, if something is there and not to be replaced, or if it is no name of a file.
    pub(super) fn new(file: &Path, force: bool) -> Result<Self, String> {
        let shown = file.display();
        let Some(name) = file.file_name().map(|name| name.to_string_lossy().into_owned()) else {
            return Err(format!("{shown} is no name of a file; give one with `-o FILE`"));
        };
        match fs::symlink_metadata(file) {
            Ok(there) if there.is_dir() => {
                return Err(format!("{shown} is a directory; give a file in it with `-o FILE`"));
            }
            Ok(_) if !force => return Err(is_there(file)),
            Ok(_) | Err(_) => {}
        }
        let partial = file.with_file_name(format!(".{name}.{}", std::process::id()));
        Ok(Self { file: file.to_owned(), partial, force })
    }

    /// Writes the entries that have a text, and says how many octets the file has.
    ///
    /// # Errors
    /// A sentence; then nothing new is there.
    pub(super) fn write(&self, entries: &[Entry], now: Timestamp) -> Result<u64, String> {
        let shown = self.file.display();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let partial = options.open(&self.partial).map_err(|error| {
            format!("cannot write {shown}: {error}; give another place with `-o FILE`")
        })?;
        let written = pack(partial, entries, now).and_then(|size| self.put().map(|()| size));
        written.map_err(|error| {
            let _ = fs::remove_file(&self.partial);
            if error.kind() == io::ErrorKind::AlreadyExists {
                return is_there(&self.file);
            }
            let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
            let why = if full.contains(&error.kind()) {
                "there is no room left on that disk".to_owned()
            } else {
                error.to_string()
            };
            format!(
                "cannot write {shown}: {why}; nothing was kept, give another place with `-o FILE`"
            )
        })
    }

    fn put(&self) -> io::Result<()> {
        if self.force {
            return Ok(rename(&self.partial, &self.file)?);
        }
        let noreplace = RenameFlags::NOREPLACE;
        match renameat_with(CWD, &self.partial, CWD, &self.file, noreplace) {
            // Some file systems cannot: then we looked before.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                Ok(rename(&self.partial, &self.file)?)
            }
            other => Ok(other?),
        }
    }
}

fn is_there(file: &Path) -> String {
    format!("{} is there already; give another name with `-o FILE`, or --force", file.display())
}

/// Directory that everything is in.
const TOP: &str = "s2s-gw-bundle";

fn pack(file: File, entries: &[Entry], now: Timestamp) -> io::Result<u64> {
    let mut tar = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    for Entry { path, text, .. } in entries {
        let Ok(text) = text else { continue };
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(now.as_second()).unwrap_or(0));
        tar.append_data(&mut header, format!("{TOP}/{path}"), text.as_bytes())?;
    }
    let mut file = tar.into_inner()?.finish()?;
    file.flush()?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}
