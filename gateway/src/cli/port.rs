//! `s2s-gw import` and `export`: from the configurations of other programs, and for the other side.
//!
//! ```text
//!   import KIND FILE.. [-o OUT]   files, what they include ─► port::parse ─► port::write ─► OUT, keys (0600), check
//!   export KIND NAME              Config ─► port::export ─► stdout or a file
//! ```

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::output::{DONE, has_colour, print, say};
use super::{Code, DEFAULT_CONFIG, Failure, Outcome};
use crate::config::{self, Config, Diagnostic};
use crate::port::{self, Files, Input, Kind, Options, Written, export};

/// Turn a configuration of another program into one of this
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  s2s-gw import swanctl /etc/swanctl/swanctl.conf -o s2s-gw.toml\n  s2s-gw import ipsec /etc/ipsec.conf /etc/ipsec.secrets -o s2s-gw.toml\n  s2s-gw import vpnaas connection.json policies.json service.json\n  s2s-gw import aws vpn-0a1b2c.xml --remote 10.20.0.0/16 -o s2s-gw.toml\n\nNOTE lines in the result say what is not as it was. Exit code 1: a tunnel\nneeds something to be done first."
)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(super) struct Import {
    /// swanctl, ipsec, vpnaas, cloudstack or aws
    #[arg(hide_possible_values = true)]
    kind: Kind,
    /// The files; `-` is stdin
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Write to this file rather than to stdout
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Put key files here rather than beside OUT
    #[arg(long, value_name = "DIR")]
    secrets: Option<PathBuf>,
    /// Write keys into the configuration itself
    #[arg(long, conflicts_with = "secrets")]
    inline_keys: bool,
    /// The files are those of the peer: exchange the sides
    #[arg(long)]
    mirror: bool,
    /// Keep 3DES, SHA-1 and MODP groups of 1024 and 1536 bits
    #[arg(long)]
    allow_legacy: bool,
    /// Our networks, where the files do not say them
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    local: Vec<String>,
    /// The peer's networks, where the files do not say them
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    remote: Vec<String>,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

impl Import {
    pub(super) fn run(self) -> Outcome {
        let mut inputs = Vec::new();
        for file in &self.files {
            inputs.push(read(file)?);
        }
        self.add_secrets(&mut inputs);
        let beside = self.output.as_ref().and_then(|out| out.parent()).unwrap_or(Path::new(""));
        let directory = self.secrets.as_deref().unwrap_or(beside);
        let options = Options {
            mirror: self.mirror,
            allow_legacy: self.allow_legacy,
            local: self.local.clone(),
            remote: self.remote.clone(),
            key_directory: shown_directory(directory, beside),
            inline: self.inline_keys,
        };
        let mut disk = Disk { left: INCLUDED_MAX };
        let parsed = port::parse(self.kind, &inputs, &mut disk, &options)
            .map_err(|fault| refused(&fault))?;
        let written = port::write(self.kind, parsed, &options);
        for note in &written.notes {
            say(&format!("{}: {note}\n", if note.grave { "TO DO" } else { "note" }));
        }
        if written.connections + written.left_out == 0 {
            let file = self.files.first().cloned().unwrap_or_default();
            let what = format!("`{}` has no connection in it", file.display());
            return Err(refused(&Diagnostic::of_file(config::Code::ForeignEmpty, file, what)));
        }
        self.store(&written, directory)?;
        if self.output.is_none() {
            print(&written.toml)?;
        }
        self.judge(&written, directory)
    }

    /// The ipsec.secrets beside an ipsec.conf, if nobody named one.
    fn add_secrets(&self, inputs: &mut Vec<Input>) {
        let named = |input: &Input| input.name.to_string_lossy().ends_with("secrets");
        if self.kind != Kind::Ipsec || inputs.iter().any(named) {
            return;
        }
        let beside = self.files.first().map(|file| file.with_extension("secrets"));
        let Some(beside) = beside.filter(|file| file.is_file()) else { return };
        if let Ok(input) = read(&beside) {
            say(&format!("{} is read, too\n", beside.display()));
            inputs.push(input);
        }
    }

    fn store(&self, written: &Written, directory: &Path) -> Result<(), Failure> {
        if !self.force {
            let keys = written.keys.iter().map(|(name, _)| directory.join(name));
            if let Some(there) = keys.chain(self.output.clone()).find(|file| file.exists()) {
                let why = format!(
                    "{} is there already; nothing was written. Name another with -o or --secrets, or give --force",
                    there.display()
                );
                return Err(Failure::new(Code::Failed, why));
            }
        }
        if !written.keys.is_empty() && directory != Path::new("") {
            fs::create_dir_all(directory).map_err(|error| cannot(directory, &error))?;
        }
        for (name, text) in &written.keys {
            store(&directory.join(name), 0o600, &[text.as_bytes(), b"\n"])?;
        }
        match &self.output {
            Some(out) => {
                let mode = if self.inline_keys { 0o600 } else { 0o644 };
                store(out, mode, &[written.toml.as_bytes()])
            }
            None => Ok(()),
        }
    }

    /// What `check` says of it, in few words.
    fn judge(&self, written: &Written, directory: &Path) -> Outcome {
        let checked = match &self.output {
            Some(out) => Config::load(out),
            None if self.inline_keys => return DONE,
            None => Config::load_text(&directory.join("s2s-gw.toml"), &written.toml),
        };
        let grave = written.notes.iter().filter(|note| note.grave).count();
        let out = self.output.as_ref().map_or("it".into(), |out| out.display().to_string());
        let keys = written.keys.len();
        say(&format!(
            "{} connection(s), {} as comments only, {keys} key file(s), {} note(s), {grave} to do\n",
            written.connections,
            written.left_out,
            written.notes.len()
        ));
        match checked {
            Ok(_) if grave == 0 => DONE,
            Ok(_) => {
                say(&format!(
                    "{out} passes s2s-gw check; see the NOTE lines for what is to be done\n"
                ));
                Err(Failure::silent(Code::Failed))
            }
            Err(report) => {
                say(&report.render(has_colour(&io::stderr())));
                Err(Failure::new(Code::Failed, format!("{out} does not pass s2s-gw check yet")))
            }
        }
    }
}

/// How the configuration names the directory of the keys.
fn shown_directory(directory: &Path, beside: &Path) -> String {
    if directory == beside {
        return String::new();
    }
    let whole = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    whole.display().to_string()
}

fn refused(fault: &Diagnostic) -> Failure {
    say(&format!(
        "{}\n\nmore: s2s-gw error {}\n",
        fault.render(has_colour(&io::stderr())),
        fault.code
    ));
    Failure::silent(Code::Usage)
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Code::Failed, format!("{}: {error}", path.display()))
}

/// As much as a configuration may have.
const FILE_MAX: u64 = 4 << 20;

fn read(file: &Path) -> Result<Input, Failure> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        io::stdin().lock().take(FILE_MAX + 1).read_to_string(&mut text)
    } else {
        fs::File::open(file).and_then(|open| open.take(FILE_MAX + 1).read_to_string(&mut text))
    };
    match read {
        Ok(octets) if octets as u64 > FILE_MAX => {
            Err(Failure::new(Code::Failed, format!("{}: larger than 4 MiB", file.display())))
        }
        Ok(_) => Ok(Input { name: file.to_owned(), text }),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(Failure::new(Code::Usage, format!("{}: not text in UTF-8", file.display())))
        }
        Err(error) => Err(cannot(file, &error)),
    }
}

/// A new file, or the content of one that is there replaced; its mode is right before anything is in it.
pub(super) fn store(path: &Path, mode: u32, parts: &[&[u8]]) -> Result<(), Failure> {
    let opened =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path);
    let write = |mut file: fs::File| {
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        parts.iter().try_for_each(|part| file.write_all(part))
    };
    opened.and_then(write).map_err(|error| cannot(path, &error))
}

/// The files of this machine.
struct Disk {
    /// So many more: files can include each other.
    left: usize,
}

const INCLUDED_MAX: usize = 1000;

impl Files for Disk {
    fn included(&mut self, pattern: &str, from: &Path) -> Result<Vec<Input>, String> {
        let pattern = from.parent().unwrap_or(Path::new("")).join(pattern);
        let found = Config::matching(std::slice::from_ref(&pattern));
        if found.is_empty() && !pattern.to_string_lossy().contains('*') {
            return Err("it cannot be found".into());
        }
        self.left = self
            .left
            .checked_sub(found.len())
            .ok_or("too many files, or they include each other")?;
        found
            .iter()
            .map(|file| read(file).map_err(|why| why.sentence.unwrap_or_default()))
            .collect()
    }
}

/// Print the configuration of the other side of a connection
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  s2s-gw export strongswan berlin > swanctl.conf\n  s2s-gw export sheet berlin                a page to mail to the peer's admin\n  s2s-gw export routes berlin --via 10.1.0.1"
)]
pub(super) struct Export {
    /// strongswan, ipsec, vpnaas, aws, s2s-gw, sheet or routes
    #[arg(hide_possible_values = true)]
    kind: export::Kind,
    /// The connection
    #[arg(value_name = "NAME")]
    name: String,
    /// Our configuration, /etc/s2s-gw/s2s-gw.toml by default
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG, hide_default_value = true)]
    config: PathBuf,
    /// Have the key in it; without, a place for it
    #[arg(long)]
    with_psk: bool,
    /// Our address as the peer sees it
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// For routes: this gateway's address on the LAN
    #[arg(long, value_name = "ADDRESS")]
    via: Option<String>,
    /// Write to this file, mode 0600, rather than to stdout
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
}

impl Export {
    pub(super) fn run(self) -> Outcome {
        let config = Config::load(&self.config).map_err(|report| {
            say(&report.render(has_colour(&io::stderr())));
            Failure::silent(Code::Usage)
        })?;
        let Some(connection) = config.connection(&self.name) else {
            let names: Vec<&str> = config.connections.iter().map(|one| one.name.as_str()).collect();
            let why = format!(
                "no connection `{}` in {}; there are: {}",
                self.name,
                self.config.display(),
                names.join(", ")
            );
            return Err(Failure::new(Code::Unknown, why));
        };
        let wanted = export::Wanted {
            kind: self.kind,
            with_psk: self.with_psk,
            address: self.address.clone(),
            guess: towards(connection),
            via: self.via.clone(),
        };
        let made = export::export(&config.gateway, connection, &wanted)
            .map_err(|why| Failure::new(Code::Failed, why))?;
        for note in &made.notes {
            say(&format!("note: {note}\n"));
        }
        match &self.output {
            None => print(&made.text),
            Some(out) => store(out, 0o600, &[made.text.as_bytes()]).and(DONE),
        }
    }
}

/// The address that this host would call the peer from; no packet is sent for that.
fn towards(connection: &config::Connection) -> Option<String> {
    let config::Peer::Hosts(hosts) = &connection.peer else { return None };
    let address = hosts.iter().find_map(|host| match host.name {
        config::HostName::Address(address) => Some(address),
        config::HostName::Dns(_) => None,
    })?;
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = std::net::UdpSocket::bind(any).ok()?;
    socket.connect((address, 500)).ok()?;
    socket.local_addr().ok().map(|address| address.ip().to_string())
}
