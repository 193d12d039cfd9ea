//! Keys in the memory of the process, looked for from outside: /proc/PID/mem, all that may be written.
//!
//! ```text
//!   charon logs the keys of the tunnel (level 4) ──┐
//!                                                  ├─► live: found, so the search works ─► down + 1 s: none is left
//!   s2s-gw, the other end ──► /proc/PID/mem ───────┘
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testkit::measured::measured;
use testkit::peer::{pause, wait_for};

use crate::List;
use crate::case::{Case, KEY, Pair, Tunnel};
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    list.tunnel("secrets/memory-gcm", gcm(Pair::OursToSwan), memory);
    list.tunnel("secrets/memory-cbc", Tunnel::new(Pair::OursToSwan), memory_inline);
}

/// With the pre-shared key in the configuration itself. The keys of this suite, and what is read of the file, are in types that
/// wipe themselves, every one of them: this is what the test holds, and it passes without the allocator that wipes. Of AES-GCM
/// the key schedules of `ring` do not: without that allocator `memory-gcm` finds four keys.
fn memory_inline(case: &mut Case) -> Result<()> {
    let ours = case.left.as_ours().context("the left one is ours")?;
    let inline = format!("psk = {{ inline = {KEY:?} }}");
    crate::reload::rewrite(ours, &|text| {
        let psk = text.lines().find(|line| line.starts_with("psk = ")).unwrap_or_default();
        text.replace(psk, &inline)
    })?;
    fs::set_permissions(ours.config(), fs::Permissions::from_mode(0o600))?;
    memory(case)
}

/// T46.
fn memory(case: &mut Case) -> Result<()> {
    let conf = case.dir.path().join("right.strongswan.conf");
    let text = fs::read_to_string(&conf)?;
    fs::write(&conf, text.replace("default = 2", "default = 4"))?;
    case.up()?;
    case.ping_all()?;
    case.left.rekey_child("site")?;
    case.wait_up(Duration::from_secs(5))?;
    let keys = keys(&fs::read_to_string(case.dir.path().join("right.log"))?);
    ensure!(keys.len() >= 8, "charon told of {:?} alone", keys.keys());
    let pid = case.left.daemon().pid().context("it runs")?;
    let live = search(pid, &keys)?;
    ensure!(live.values().sum::<usize>() > 0, "the search finds nothing at all: {:?}", keys.keys());

    let ours = case.left.as_ours().context("the left one is ours")?;
    ours.tell(&["down", "site"])?;
    wait_for("the end of the tunnel", Duration::from_secs(5), || {
        Ok((!case.left.facts("site")?.up).then_some(()))
    })?;
    pause(Duration::from_secs(1));
    let left = search(pid, &keys)?;
    let psk = BTreeMap::from([("psk".to_owned(), KEY.as_bytes().to_vec())]);
    let of_psk = search(pid, &psk)?;
    let astray = of_psk.keys().filter(|place| !place.contains("[heap]")).count();
    let of_psk = of_psk.values().sum::<usize>();
    let hits: usize = left.values().sum();
    measured("T46", "keys left one second after the end", hits, "0");
    measured("T46", "copies of a pre-shared key in use", of_psk, "<= 4, in their buffers");
    ensure!(hits == 0, "live {live:?}\nleft {left:?}");
    ensure!(of_psk <= 4 && astray == 0, "{of_psk} copies of the PSK, {astray} on a stack");

    crate::reload::change(ours, &|text| {
        text.split("\n[connection.site]").next().unwrap_or_default().to_owned()
    })?;
    pause(Duration::from_secs(1));
    let of_psk = search(pid, &psk)?;
    let copies = of_psk.values().sum::<usize>();
    measured("T46", "copies of a pre-shared key whose connection was taken out", copies, "0");
    ensure!(copies == 0, "{of_psk:?}");
    Ok(())
}

/// What charon calls secret: `Sk_d secret => 32 bytes @ 0x7f..` and lines `   0: 61 62 ..  ab`.
fn keys(log: &str) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut lines = log.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((name, _)) = line.split_once(" => ") else { continue };
        let name = name.rsplit("> ").next().unwrap_or(name);
        let is_key = ["Sk_", "SKEYSEED", "secret", "encryption", "integrity"];
        if !is_key.iter().any(|word| name.contains(word)) {
            continue;
        }
        let mut octets = Vec::new();
        while let Some(dump) = lines.peek().and_then(|line| dumped(line)) {
            octets.extend(dump);
            lines.next();
        }
        // Shorter ones are found by chance, salts are among them; messages are no secret; the PSK stays.
        let is_message = name.contains("octets") || octets == KEY.as_bytes();
        if octets.len() >= 16 && !is_message {
            found.insert(format!("{}: {name}", found.len()), octets);
        }
    }
    found
}

/// The octets of a line of a dump.
fn dumped(line: &str) -> Option<Vec<u8>> {
    let (before, octets) = line.rsplit_once(": ")?;
    let offset = before.rsplit(' ').next()?;
    offset.parse::<usize>().ok()?;
    let words = octets.get(..octets.len().min(48))?.split(' ');
    let each = words.take_while(|word| word.len() == 2);
    let octets: Vec<u8> = each.map_while(|word| u8::from_str_radix(word, 16).ok()).collect();
    (!octets.is_empty()).then_some(octets)
}

/// How often the last 16 octets of each key are in the memory of a process. Not the first: `free()` writes its links over those
/// of a block, and a key that stands at the start of one would not be found.
fn search(pid: u32, keys: &BTreeMap<String, Vec<u8>>) -> Result<BTreeMap<String, usize>> {
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mut starts: BTreeMap<u64, Vec<(&str, &[u8])>> = BTreeMap::new();
    for (name, key) in keys {
        let Some(key) = key.last_chunk::<16>() else { continue };
        let Some((first, rest)) = key.split_first_chunk::<8>() else { continue };
        starts.entry(u64::from_ne_bytes(*first)).or_default().push((name, rest));
    }
    let mut found = BTreeMap::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (Some(range), Some(rights)) = (words.next(), words.next()) else { continue };
        if !rights.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').context("a range")?;
        let (from, to) = (u64::from_str_radix(from, 16)?, u64::from_str_radix(to, 16)?);
        let mut octets = vec![0; usize::try_from(to - from)?];
        // Some have nothing behind them.
        if memory.read_exact_at(&mut octets, from).is_err() {
            continue;
        }
        let place = line.split_whitespace().nth(5).unwrap_or("anonymous");
        let mut window = 0_u64;
        for (at, octet) in octets.iter().enumerate() {
            // The last eight octets as they lie in memory of this order.
            window = window >> 8 | u64::from(*octet) << 56;
            let Some(candidates) = starts.get(&u64::from_le(window)) else { continue };
            for (name, rest) in candidates {
                if octets.get(at + 1..).is_some_and(|behind| behind.starts_with(rest)) {
                    let address = from + u64::try_from(at)? - 7;
                    *found.entry(format!("{name} at {address:x} in {place}")).or_default() += 1;
                }
            }
        }
    }
    Ok(found)
}
