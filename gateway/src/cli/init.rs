//! `s2s-gw init`: five questions, and the files of both sides.
//!
//! ```text
//!   name, our address, the peer's, our networks, the peer's
//!      └─► DIR/s2s-gw.toml + DIR/NAME.psk                         ours; calls
//!      └─► DIR/for-NAME/s2s-gw.toml + OURS.psk, or swanctl.conf   the peer's, with the same new key; waits
//! ```
//!
//! What an option says is not asked; without a terminal nothing is.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::output::{has_colour, print, say};
use super::port::store;
use super::{Code, Failure, Outcome};
use crate::config::{Config, genpsk};
use crate::port::export;

/// Make a first configuration for two sites, asking five questions
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  s2s-gw init\n  s2s-gw init --dir ~/vpn --peer strongswan\n  s2s-gw init --name berlin --our-address 203.0.113.10 \\\n    --peer-address 198.51.100.20 --our-networks 10.1.0.0/16 \\\n    --peer-networks 10.2.0.0/16"
)]
pub(super) struct Init {
    /// The peer runs s2s-gw (default) or strongswan
    #[arg(long, default_value = "s2s-gw", hide_possible_values = true, hide_default_value = true)]
    peer: Other,
    /// Both sides run s2s-gw, as by default
    #[arg(long, conflicts_with = "peer")]
    pair: bool,
    /// Where the files go
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// The site at the other end: a-z, 0-9 and `-`
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// This site; by default the name of this host
    #[arg(long, value_name = "NAME")]
    our_name: Option<String>,
    /// Where the peer reaches us: address or name
    #[arg(long, value_name = "ADDRESS")]
    our_address: Option<String>,
    /// Where we reach the peer; `any`: from anywhere
    #[arg(long, value_name = "ADDRESS")]
    peer_address: Option<String>,
    /// Our networks, with commas between
    #[arg(long, value_name = "NETWORKS")]
    our_networks: Option<String>,
    /// The peer's networks, the same
    #[arg(long, value_name = "NETWORKS")]
    peer_networks: Option<String>,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Other {
    #[value(name = "s2s-gw")]
    S2sGw,
    Strongswan,
}

/// What was answered.
struct Answers {
    name: String,
    our_name: String,
    our_address: String,
    peer_address: String,
    ours: Vec<String>,
    theirs: Vec<String>,
}

impl Init {
    pub(super) fn run(self) -> Outcome {
        let answers = self.ask()?;
        let peer_dir = self.dir.join(format!("for-{}", answers.name));
        let file = self.dir.join("s2s-gw.toml");
        if let Some(there) =
            [&file, &peer_dir].into_iter().find(|path| path.exists() && !self.force)
        {
            let why = format!(
                "{} is there already; name another place with --dir, or give --force",
                there.display()
            );
            return Err(Failure::new(Code::Failed, why));
        }
        let made = |path: &Path| std::fs::create_dir_all(path);
        made(&self.dir).and_then(|()| made(&peer_dir)).map_err(|error| {
            Failure::new(Code::Failed, format!("{}: {error}", peer_dir.display()))
        })?;
        let key = Zeroizing::new(genpsk(32));
        let psk = self.dir.join(format!("{}.psk", answers.name));
        store(&psk, 0o600, &[key.as_bytes(), b"\n"])?;
        store(&file, 0o644, &[toml(&answers).as_bytes()])?;
        let config = checked(&file)?;
        let peer_files = self.peer_files(&config, &answers, &peer_dir, &key)?;
        tell(&answers, &file, &psk, &peer_files)
    }

    /// Writes what the other side needs.
    fn peer_files(
        &self,
        config: &Config,
        answers: &Answers,
        dir: &Path,
        key: &str,
    ) -> Result<Vec<PathBuf>, Failure> {
        let Some(connection) = config.connection(&answers.name) else {
            return Err(Failure::new(Code::Failed, "what was written has no connection in it"));
        };
        let is_ours = self.peer == Other::S2sGw;
        let wanted = export::Wanted {
            kind: if is_ours { export::Kind::S2sGw } else { export::Kind::Strongswan },
            with_psk: true,
            address: Some(answers.our_address.clone()),
            guess: None,
            via: None,
        };
        let made = export::export(&config.gateway, connection, &wanted);
        let made = made.map_err(|why| Failure::new(Code::Failed, why))?;
        if !is_ours {
            let conf = dir.join("swanctl.conf");
            store(&conf, 0o600, &[made.text.as_bytes()])?;
            return Ok(vec![conf]);
        }
        let (file, psk) = (dir.join("s2s-gw.toml"), dir.join(format!("{}.psk", answers.our_name)));
        store(&psk, 0o600, &[key.as_bytes(), b"\n"])?;
        store(&file, 0o644, &[made.text.as_bytes()])?;
        checked(&file)?;
        Ok(vec![file, psk])
    }

    fn ask(&self) -> Result<Answers, Failure> {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let mut asked = Asked { number: 0, missing: Vec::new() };
        let our_name = plain(self.our_name.as_ref().unwrap_or(&host));
        let name = asked.one(
            self.name.as_ref(),
            "--name",
            "What is the other site called?",
            "berlin",
            is_name,
        )?;
        let our_address = asked.one(
            self.our_address.as_ref(),
            "--our-address",
            "Where does it reach this gateway (address or DNS name)?",
            "203.0.113.10",
            is_host,
        )?;
        let peer_address = asked.one(
            self.peer_address.as_ref(),
            "--peer-address",
            "Where is its gateway (`any`: it has no fixed address)?",
            "198.51.100.20",
            is_peer,
        )?;
        let ours = asked.one(
            self.our_networks.as_ref(),
            "--our-networks",
            "Which networks are here (commas between)?",
            "10.1.0.0/16",
            is_networks,
        )?;
        let theirs = asked.one(
            self.peer_networks.as_ref(),
            "--peer-networks",
            "Which networks are there?",
            "10.2.0.0/16",
            is_networks,
        )?;
        if !asked.missing.is_empty() {
            let why = format!("there is no terminal to ask at: give {}", asked.missing.join(", "));
            return Err(Failure::new(Code::Usage, why));
        }
        if name == our_name {
            let why = format!("both sites are called `{name}`: name this one with --our-name");
            return Err(Failure::new(Code::Usage, why));
        }
        let list = |text: &str| text.split(',').map(|one| one.trim().to_owned()).collect();
        let (ours, theirs) = (list(&ours), list(&theirs));
        Ok(Answers { name, our_name, our_address, peer_address, ours, theirs })
    }
}

/// What there is now, and what to do with it.
fn tell(answers: &Answers, file: &Path, psk: &Path, peer: &[PathBuf]) -> Outcome {
    let mut text = format!(
        "for this site:\n  {}\n  {}   the key\nfor {}:\n",
        file.display(),
        psk.display(),
        answers.name
    );
    for path in peer {
        let _ = writeln!(text, "  {}", path.display());
    }
    let _ = write!(
        text,
        "\nnext:\n  copy the first two to /etc/s2s-gw, and bring the others to {} by a way that\n  nobody reads along (they have the key)\n  sysctl -w net.ipv4.ip_forward=1; s2s-gw run       on both gateways, as root\n  s2s-gw status\n",
        answers.name
    );
    print(&text)
}

/// What was asked so far.
struct Asked {
    number: u8,
    /// Options that were not given and could not be asked for.
    missing: Vec<&'static str>,
}

/// Whether an answer can be used, or what is wrong with it.
type Check = fn(&str) -> Result<(), String>;

impl Asked {
    /// The option, or what is answered until that can be used.
    fn one(
        &mut self,
        given: Option<&String>,
        option: &'static str,
        question: &str,
        example: &str,
        check: Check,
    ) -> Result<String, Failure> {
        self.number += 1;
        if let Some(given) = given {
            let given = given.trim();
            check(given)
                .map_err(|why| Failure::new(Code::Usage, format!("{option} {given}: {why}")))?;
            return Ok(given.to_owned());
        }
        if !io::stdin().is_terminal() {
            self.missing.push(option);
            return Ok(String::new());
        }
        loop {
            say(&format!("{}/5  {question}\n     for example {example}: ", self.number));
            let _ = io::stderr().flush();
            let mut line = String::new();
            let read = io::stdin().lock().read_line(&mut line);
            if read.map_err(|error| {
                Failure::new(Code::Failed, format!("cannot read stdin: {error}"))
            })? == 0
            {
                return Err(Failure::new(Code::Failed, "no answer; nothing was written"));
            }
            let answer = line.trim();
            match check(answer) {
                Ok(()) => return Ok(answer.to_owned()),
                Err(why) => say(&format!("     {why}\n")),
            }
        }
    }
}

/// What of a text can be a name.
fn plain(text: &str) -> String {
    let first = text.split('.').next().unwrap_or("").to_lowercase();
    let fits = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let plain: String = first.chars().map(fits).take(32).collect();
    // A host may have a name of which nothing is left.
    Some(plain.trim_matches('-')).filter(|name| !name.is_empty()).unwrap_or("here").to_owned()
}

fn is_name(text: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good =
        !text.is_empty() && text.len() <= 32 && text.chars().all(fits) && !text.starts_with('-');
    if good { Ok(()) } else { Err("a name is a-z, 0-9 and `-`, at most 32 characters".into()) }
}

fn is_host(text: &str) -> Result<(), String> {
    let good = crate::config::is_host(text) && text != "any";
    if good { Ok(()) } else { Err("an address or a DNS name, such as 203.0.113.10".into()) }
}

fn is_peer(text: &str) -> Result<(), String> {
    if text == "any" { Ok(()) } else { is_host(text) }
}

fn is_networks(text: &str) -> Result<(), String> {
    for one in text.split(',').map(str::trim) {
        let network: ipnet::IpNet =
            one.parse().map_err(|_| format!("`{one}` is not a network, such as 10.1.0.0/16"))?;
        if network.trunc() != network {
            return Err(format!("{network} is a host in {}: write that", network.trunc()));
        }
    }
    Ok(())
}

/// Our side.
fn toml(answers: &Answers) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let list = |all: &[String]| all.iter().map(|one| quoted(one)).collect::<Vec<_>>().join(", ");
    let Answers { name, our_name, peer_address, .. } = answers;
    format!(
        "# Made by s2s-gw init. Every key: s2s-gw man 5, or docs/configuration.md.\n[gateway]\nname = {}\n\n[connection.{name}]\npeer           = {}\npeer_id        = {}\nlocal_id       = {}\npsk            = {{ file = {} }}\nlocal_subnets  = [{}]\nremote_subnets = [{}]\n",
        quoted(our_name),
        quoted(peer_address),
        quoted(name),
        quoted(our_name),
        quoted(&format!("{name}.psk")),
        list(&answers.ours),
        list(&answers.theirs),
    )
}

/// What was written has to pass.
fn checked(file: &Path) -> Result<Config, Failure> {
    Config::load(file).map_err(|report| {
        say(&report.render(has_colour(&io::stderr())));
        Failure::new(Code::Usage, format!("{} is written, but has errors", file.display()))
    })
}
