//! The configuration changed under a running gateway: what changes, what does not, and that nothing is lost on the way.
//!
//! ```text
//!   site    10.1.0.0/24 ⇄ 10.2.0.0/24        under pings all the time
//!   other   10.201.0.0/24 ⇄ 10.202.0.0/24    its SPIs say whether anything happened to it
//! ```

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use testkit::gateway::Ours;
use testkit::netns::Family;
use testkit::peer::{Daemon, Facts, pause, wait_for};

use crate::List;
use crate::case::{Case, GAP, Pair};
use crate::collide::{at_rest, while_pinging};
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    let mut add = |what: &str, body: fn(&mut Case) -> Result<()>| {
        list.tunnel(&format!("reload/{what}"), gcm(Pair::OursToOurs), body);
    };
    add("subnet-added-and-removed", subnets);
    add("subnet-added-by-the-caller-first", caller_first);
    add("other-connection-changed", other_changed);
    add("broken-file", broken);
    add("needs-restart", needs_restart);
    add("connection-removed-and-added", removed_and_added);
    add("disabled-and-enabled", disabled);
    add("key-rotated", key_rotated);
    add("algorithms", algorithms);
    add("signal", signal);
    add("again-and-again", again_and_again);
    add("log", log);
    for pair in [Pair::OursToSwan, Pair::SwanToOurs] {
        list.tunnel("reload/in-place-and-removed", gcm(pair), with_swan);
    }
}

/// A change of the text of a configuration.
pub(crate) type Edit<'e> = &'e dyn Fn(String) -> String;

fn ours(case: &Case, left: bool) -> Result<&Ours> {
    let peer = if left { &case.left } else { &case.right };
    peer.as_ours().context("this one is ours")
}

/// Writes another configuration, in one step, as an editor does.
pub(crate) fn rewrite(ours: &Ours, edit: Edit<'_>) -> Result<()> {
    let file = ours.config();
    let text = edit(std::fs::read_to_string(&file)?);
    let beside = file.with_extension("new");
    std::fs::write(&beside, text)?;
    std::fs::rename(beside, file)?;
    Ok(())
}

fn replaced(from: &str, to: &str) -> impl Fn(String) -> String + use<> {
    let (from, to) = (from.to_owned(), to.to_owned());
    move |text| {
        assert!(text.contains(&from), "{from} is not in\n{text}");
        text.replace(&from, &to)
    }
}

fn reload(ours: &Ours, args: &[&str]) -> Result<Output> {
    let socket = ours.config().with_extension("sock");
    let mut command = ours.command(&[&["reload"], args].concat());
    Ok(command.arg("--control").arg(socket).output()?)
}

/// Rewrites and reloads; what the command printed.
fn change(ours: &Ours, edit: Edit<'_>) -> Result<String> {
    rewrite(ours, edit)?;
    let output = reload(ours, &[])?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}{complaint}", output.status);
    Ok(said)
}

fn key_file(ours: &Ours, connection: &str) -> PathBuf {
    let stem = ours.config().with_extension("");
    stem.with_file_name(format!(
        "{}-{connection}.psk",
        stem.file_name().unwrap_or_default().display()
    ))
}

/// A second connection between the same gateways, with the key of the first.
pub(crate) fn other(ours: &Ours, left: bool) -> String {
    let (here, there) = if left { (201, 202) } else { (202, 201) };
    let (us, them) = if left { ("left", "right") } else { ("right", "left") };
    let start = if left { "always" } else { "respond-only" };
    let peer = if left { "192.0.2.2" } else { "192.0.2.1" };
    let key = key_file(ours, "site").display().to_string();
    format!(
        "\n[connection.other]\npeer = \"{peer}\"\npeer_id = \"{them}-other.example.org\"\n\
         local_id = \"{us}-other.example.org\"\npsk = {{ file = {key:?} }}\npolicy = \"site\"\n\
         local_subnets = [\"10.{here}.0.0/24\"]\nremote_subnets = [\"10.{there}.0.0/24\"]\n\
         start = \"{start}\"\n"
    )
}

/// Both up with two connections, the second one from the beginning.
fn two(case: &mut Case) -> Result<()> {
    for left in [true, false] {
        let ours = ours(case, left)?;
        let peer = if left { &case.sites.right } else { &case.sites.left };
        let more = other(ours, left)
            .replace(if left { "192.0.2.2" } else { "192.0.2.1" }, &peer.outer(Family::V4));
        rewrite(ours, &|text| text + &more)?;
    }
    case.up()?;
    up(case, "other")
}

fn up(case: &Case, name: &str) -> Result<()> {
    for left in [true, false] {
        let ours = ours(case, left)?;
        wait_for(&format!("{name} to be up"), Duration::from_secs(10), || {
            Ok(facts(ours, name)?.up.then_some(()))
        })?;
    }
    Ok(())
}

fn facts(ours: &Ours, name: &str) -> Result<Facts> {
    testkit::peer::Peer::facts(ours, name)
}

fn of_both(case: &Case, name: &str) -> Result<[Facts; 2]> {
    Ok([facts(ours(case, true)?, name)?, facts(ours(case, false)?, name)?])
}

fn warnings(ours: &Ours) -> Result<String> {
    Ok(at(&ours.json()?, "/warnings").to_string())
}

fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

fn answers(case: &Case, index: u8) -> Result<bool> {
    let to = case.sites.right.host_address(Family::V4, index);
    Ok(case.sites.left.host.ping(to, 1, GAP)? == 1)
}

pub(crate) fn more(case: &Case, left: bool) -> impl Fn(String) -> String + use<> {
    // The right site gets one network more.
    let (old, new) =
        (case.sites.right.subnet(Family::V4, 0), case.sites.right.subnet(Family::V4, 1));
    let key = if left { "remote_subnets" } else { "local_subnets" };
    replaced(&format!("{key} = [{old:?}]"), &format!("{key} = [{old:?}, {new:?}]"))
}

pub(crate) fn less(case: &Case, left: bool) -> impl Fn(String) -> String + use<> {
    let (old, new) =
        (case.sites.right.subnet(Family::V4, 0), case.sites.right.subnet(Family::V4, 1));
    let key = if left { "remote_subnets" } else { "local_subnets" };
    replaced(&format!("{key} = [{old:?}, {new:?}]"), &format!("{key} = [{old:?}]"))
}

/// A network more in the list of a child, then one less: not a ping is lost, and the other connection notices nothing.
fn subnets(case: &mut Case) -> Result<()> {
    two(case)?;
    let before = of_both(case, "other")?;
    let ike = of_both(case, "site")?.map(|facts| facts.ike_spi);
    while_pinging(case, |case| {
        pause(Duration::from_millis(300));
        let said = change(ours(case, false)?, &more(case, false))?;
        ensure!(
            said.contains("site: changed") && said.contains("1 connection unchanged"),
            "{said}"
        );
        ensure!(said.contains("local_subnets +10.12.0.0/24"), "{said}");
        change(ours(case, true)?, &more(case, true))?;
        wait_for(
            "the new network",
            Duration::from_secs(5),
            || Ok(answers(case, 1)?.then_some(())),
        )?;
        pause(Duration::from_secs(8));
        Ok(())
    })?;
    let counted = ours(case, true)?.json()?;
    let lists = counted.pointer("/connections/0/children").and_then(Value::as_array).map(Vec::len);
    ensure!(lists == Some(1), "one child is left: {counted}");
    while_pinging(case, |case| {
        change(ours(case, false)?, &less(case, false))?;
        change(ours(case, true)?, &less(case, true))?;
        pause(Duration::from_secs(8));
        Ok(())
    })?;
    ensure!(!answers(case, 1)?, "the network is not part of it any more");
    let routes = case.sites.left.gateway.run("ip", &["route", "show", "dev", "s2s0"])?;
    ensure!(!routes.contains("10.12.0.0") && routes.contains("10.2.0.0"), "{routes}");
    ensure!(of_both(case, "other")? == before, "the other connection changed");
    ensure!(of_both(case, "site")?.map(|facts| facts.ike_spi) == ike, "the IKE SA changed");
    let warned = warnings(ours(case, true)?)?;
    ensure!(warned == "[]", "{warned}");
    Ok(())
}

/// The side that calls knows of the network first: what there was goes on, what is new comes when the other side knows it.
fn caller_first(case: &mut Case) -> Result<()> {
    for left in [true, false] {
        rewrite(ours(case, left)?, &replaced("\"combined\"", "\"auto\""))?;
    }
    two(case)?;
    while_pinging(case, |case| {
        change(ours(case, true)?, &more(case, true))?;
        pause(Duration::from_secs(5));
        ensure!(!answers(case, 1)?, "the other side does not know it yet");
        change(ours(case, false)?, &more(case, false))?;
        wait_for("the new network", Duration::from_secs(75), || {
            Ok(answers(case, 1)?.then_some(()))
        })?;
        pause(Duration::from_secs(4));
        Ok(())
    })
}

/// Whatever happens to one connection, the other keeps its SPIs and loses nothing.
fn other_changed(case: &mut Case) -> Result<()> {
    two(case)?;
    let before = of_both(case, "site")?;
    while_pinging(case, |case| {
        let left = ours(case, true)?;
        let edits = [
            (
                "start = \"always\"\nselectors",
                "start = \"always\"\ndescription = \"x\"\nselectors",
                "in place",
            ),
            ("[\"10.202.0.0/24\"]", "[\"10.202.0.0/24\"]\nmetric = 300", "routes changed"),
            ("[\"10.202.0.0/24\"]", "[\"10.203.0.0/24\"]", "CREATE_CHILD_SA for the new pair"),
            ("right-other.example.org", "nobody.example.org", "new IKE SA beside the old one"),
        ];
        for (from, to, words) in edits {
            let said = change(left, &replaced(from, to))?;
            ensure!(said.contains(words), "{words} is not in {said}");
            pause(Duration::from_millis(700));
        }
        Ok(())
    })?;
    ensure!(of_both(case, "site")? == before, "the connection changed");
    let told = ours(case, true)?.json()?;
    let mut all = at(&told, "/connections").as_array().into_iter().flatten();
    let other = all.find(|connection| at(connection, "/name") == "other");
    ensure!(
        other.is_some_and(|other| at(other, "/warnings").to_string().contains("W0601")),
        "{told}"
    );
    Ok(())
}

/// A file that cannot be loaded changes nothing, and says so.
fn broken(case: &mut Case) -> Result<()> {
    two(case)?;
    let before = [of_both(case, "site")?, of_both(case, "other")?];
    let left = ours(case, true)?;
    let good = std::fs::read_to_string(left.config())?;
    let missing = replaced("/left-site.psk", "/nothing.psk");
    let half = |text: String| text[..text.len() * 2 / 3].to_owned() + "\nremote_sub";
    let typo = replaced("local_subnets", "local_subnet");
    let edits: [(Edit<'_>, &str); 3] =
        [(&half, "error"), (&missing, "nothing.psk"), (&typo, "did you mean `local_subnets`")];
    for (edit, words) in edits {
        rewrite(left, edit)?;
        let check = |args: &[&str]| -> Result<()> {
            let output = reload(left, args)?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.code() == Some(2), "{}: {said}", output.status);
            ensure!(said.contains("running configuration NOT changed"), "{said}");
            ensure!(said.contains(words), "{words} is not in {said}");
            Ok(())
        };
        check(&["--dry-run"])?;
        check(&[])?;
        ensure!(warnings(left)?.contains("W0603"), "no W0603: {}", warnings(left)?);
        let output = reload(left, &["--json"])?;
        let json: Value = serde_json::from_slice(&output.stdout)?;
        ensure!(output.status.code() == Some(2) && at(&json, "/outcome") == "invalid", "{json}");
        ensure!(
            at(&json, "/schema") == "s2s-gw/reload/1" && at(&json, "/check/ok") == false,
            "{json}"
        );
        rewrite(left, &|_| good.clone())?;
    }
    let said = change(left, &|text| text)?;
    ensure!(said.contains("nothing to do"), "{said}");
    ensure!(!warnings(left)?.contains("W0603"), "W0603 stays: {}", warnings(left)?);
    ensure!([of_both(case, "site")?, of_both(case, "other")?] == before, "something changed");
    case.ping_all()
}

/// What cannot change is refused as a whole, by name, and so is what stands beside it.
fn needs_restart(case: &mut Case) -> Result<()> {
    two(case)?;
    let before = [of_both(case, "site")?, of_both(case, "other")?];
    let left = ours(case, true)?;
    rewrite(left, &|text| {
        let text = replaced("[gateway]\n", "[gateway]\nworkers = 2\ntun = \"other0\"\n")(text);
        replaced("[\"10.202.0.0/24\"]", "[\"10.203.0.0/24\"]")(text)
    })?;
    for args in [&["--dry-run"][..], &[]] {
        let output = reload(left, args)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
        ensure!(said.contains("needs restart: [gateway] tun, [gateway] workers"), "{said}");
    }
    ensure!([of_both(case, "site")?, of_both(case, "other")?] == before, "something changed");
    case.ping_all()
}

/// A connection that is taken out is gone on both ends, its routes too; what is added comes up.
fn removed_and_added(case: &mut Case) -> Result<()> {
    two(case)?;
    let before = of_both(case, "site")?;
    let left = ours(case, true)?;
    let good = std::fs::read_to_string(left.config())?;
    let routes = || case.sites.left.gateway.run("ip", &["route", "show", "dev", "s2s0"]);
    ensure!(routes()?.contains("10.202.0.0/24"), "{}", routes()?);
    let without =
        |text: String| text.split("\n[connection.other]").next().unwrap_or_default().to_owned();
    rewrite(left, &without)?;
    let output = reload(left, &["--dry-run"])?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success() && said.contains("other: removed"), "{said}");
    ensure!(facts(left, "other")?.up, "a dry run does nothing");
    let said = change(left, &without)?;
    ensure!(said.contains("loss: intended"), "{said}");
    ensure!(facts(left, "other").is_err(), "it is not known any more");
    ensure!(!routes()?.contains("10.202.0.0/24"), "{}", routes()?);
    let right = ours(case, false)?;
    wait_for("the other end to be without it", Duration::from_secs(2), || {
        Ok((!facts(right, "other")?.up).then_some(()))
    })?;
    // Whoever was removed and calls is a stranger (CVE-2025-9242: it was not).
    right.tell(&["up", "other"])?;
    pause(Duration::from_secs(2));
    let in_again = facts(right, "other")?.up;
    testkit::measured::measured("T38", "a removed peer let in again", in_again, "false");
    ensure!(!in_again, "a peer that was removed is up");
    let told = left.tell(&["status", "--json"])?;
    ensure!(!told.contains("\"name\":\"other\"") && !told.contains("10.202"), "{told}");
    // It comes back, with another one before it: places change, nothing else.
    change(left, &|_| good.replace("\n[connection.site]", "\n[connection.site]\nmetric = 100"))?;
    up(case, "other")?;
    ensure!(routes()?.contains("10.202.0.0/24"), "{}", routes()?);
    ensure!(of_both(case, "site")? == before, "the first connection changed");
    case.ping_all()
}

/// Good and bad files in turn, hundreds of times (`S2S_RELOADS`): the SAs are the same, and so is the memory.
fn again_and_again(case: &mut Case) -> Result<()> {
    two(case)?;
    let before = [of_both(case, "site")?, of_both(case, "other")?];
    let pid = case.left.daemon().pid().context("it runs")?;
    let left = ours(case, true)?;
    let good = std::fs::read_to_string(left.config())?;
    let edits: [fn(&str) -> String; 6] = [
        |good| good.replace("[connection.other]\n", "[connection.other]\ndescription = \"x\"\n"),
        |good| good.replace("/left-site.psk", "/nothing.psk"),
        |good| good[..good.len() / 2].to_owned(),
        |good| good.replace("10.201.0.0/24", "10.1.0.0/24").replace("10.202.0.0/24", "10.2.0.0/24"),
        |good| good.to_owned() + "\n[connection.site]\npeer = \"192.0.2.9\"\n",
        |good| good.replace("local_subnets", "local_subnet"),
    ];
    let rounds = std::env::var("S2S_RELOADS").ok().and_then(|text| text.parse().ok());
    let rounds: usize = rounds.unwrap_or(120);
    // What the first ones fill stays filled.
    let mut memory = 0;
    for round in 0..rounds {
        if round == 30 {
            memory = resident(pid)?;
        }
        let edit = edits.get(round % edits.len()).context("an edit")?;
        std::fs::write(left.config(), edit(&good))?;
        let output = reload(left, &[])?;
        let expected = if round % edits.len() == 0 { Some(0) } else { Some(2) };
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == expected, "{round}: {}: {said}", output.status);
        ensure!(expected == Some(0) || said.contains("NOT changed"), "{round}: {said}");
    }
    let grown = resident(pid)?.saturating_sub(memory);
    std::fs::write(left.config(), good)?;
    reload(left, &[])?;
    ensure!([of_both(case, "site")?, of_both(case, "other")?] == before, "something changed");
    testkit::measured::measured(
        "T38",
        &format!("SAs changed by {rounds} reloads, five of six of them bad"),
        0,
        "0",
    );
    testkit::measured::measured(
        "T38",
        &format!("memory grown by {rounds} reloads"),
        format!("{grown} KiB"),
        "<= 5 MiB",
    );
    ensure!(grown <= 5 << 10, "{grown} KiB more after {rounds} reloads");
    case.ping_all()
}

/// Resident memory in KiB (proc_pid_status(5)).
fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.split_whitespace().next().context("a number")?.parse()?)
}

/// `enabled = false` is gone without being forgotten.
fn disabled(case: &mut Case) -> Result<()> {
    two(case)?;
    let before = of_both(case, "site")?;
    let left = ours(case, true)?;
    let routes = || case.sites.left.gateway.run("ip", &["route", "show", "dev", "s2s0"]);
    let off = "[connection.other]\nenabled = false\n";
    let said = change(left, &replaced("[connection.other]\n", off))?;
    ensure!(said.contains("other: disabled"), "{said}");
    ensure!(!facts(left, "other")?.up, "it is known, and not up");
    ensure!(!routes()?.contains("10.202.0.0/24"), "{}", routes()?);
    let right = ours(case, false)?;
    wait_for("the other end to be without it", Duration::from_secs(2), || {
        Ok((!facts(right, "other")?.up).then_some(()))
    })?;
    let said = change(left, &replaced(off, "[connection.other]\n"))?;
    ensure!(said.contains("other: enabled"), "{said}");
    up(case, "other")?;
    ensure!(routes()?.contains("10.202.0.0/24"), "{}", routes()?);
    ensure!(of_both(case, "site")? == before, "the first connection changed");
    case.ping_all()
}

/// Another key on one side, and a while later on the other: the tunnel stays all the time.
fn key_rotated(case: &mut Case) -> Result<()> {
    two(case)?;
    let other = of_both(case, "other")?;
    // The connections share a file: the other one gets a copy of the old key.
    for left in [true, false] {
        let ours = ours(case, left)?;
        let (old, new) = (key_file(ours, "site"), key_file(ours, "new"));
        std::fs::copy(&old, &new)?;
        std::fs::write(&new, "another-Key-that-is-41-characters-long-x1")?;
    }
    let rotate = |ours: &Ours| {
        let (old, new) = (key_file(ours, "site"), key_file(ours, "new"));
        let (old, new) = (old.display().to_string(), new.display().to_string());
        // In the first connection alone.
        change(ours, &move |text: String| text.replacen(&old, &new, 1))
    };
    let before = of_both(case, "site")?;
    while_pinging(case, |case| {
        let (left, right) = (ours(case, true)?, ours(case, false)?);
        let said = rotate(left)?;
        ensure!(said.contains("psk") && said.contains("new IKE SA beside the old one"), "{said}");
        wait_for("W0601", Duration::from_secs(5), || {
            Ok(left.tell(&["status", "--json"])?.contains("W0601").then_some(()))
        })?;
        ensure!(of_both(case, "site")? == before, "the old SA stays");
        let said = rotate(right)?;
        ensure!(said.contains("used when the peer authenticates anew"), "{said}");
        // Nothing is different, but whoever reloads wants to know now.
        change(left, &|text| text)?;
        wait_for("a new IKE SA", Duration::from_secs(5), || {
            let now = facts(left, "site")?;
            Ok((now.up && now.ike_spi != before[0].ike_spi).then_some(()))
        })?;
        pause(Duration::from_secs(7));
        Ok(())
    })?;
    ensure!(!ours(case, true)?.tell(&["status", "--json"])?.contains("W0601"), "W0601 stays");
    ensure!(of_both(case, "other")? == other, "the other connection changed");
    // What there is now was made with the new key alone.
    testkit::peer::Peer::restart(ours(case, true)?, "site")?;
    case.wait_up(Duration::from_secs(5))
}

/// Other algorithms: of children at once, of the IKE SA when it is rekeyed, or with `--now`.
fn algorithms(case: &mut Case) -> Result<()> {
    case.up()?;
    let suites = |case: &Case| -> Result<String> { Ok(facts(ours(case, true)?, "site")?.suites) };
    while_pinging(case, |case| {
        let before = of_both(case, "site")?;
        for left in [false, true] {
            let edit = replaced(
                "esp = [\"aes256gcm16\"]",
                "esp = [\"aes128gcm16-ecp256\", \"aes256gcm16\"]",
            );
            let said = change(ours(case, left)?, &edit)?;
            ensure!(said.contains("child SAs rekeyed now"), "{said}");
        }
        wait_for("the new algorithms", Duration::from_secs(5), || {
            let now = of_both(case, "site")?;
            let all = now.iter().all(|facts| facts.suites.contains("AES_GCM_16_128") && facts.up);
            Ok(all.then_some(()))
        })?;
        ensure!(of_both(case, "site")?[0].ike_spi == before[0].ike_spi, "the IKE SA changed");
        let text = suites(case)?;
        for left in [false, true] {
            let edit = replaced("curve25519\"", "ecp256\", \"aes256gcm16-prfsha256-curve25519\"");
            let said = change(ours(case, left)?, &edit)?;
            ensure!(said.contains("at the next IKE rekey"), "{said}");
        }
        pause(Duration::from_secs(1));
        ensure!(suites(case)? == text, "it was to wait");
        let left = ours(case, true)?;
        rewrite(left, &replaced("aes256gcm16-prfsha256-ecp256", "aes256gcm16-prfsha384-ecp256"))?;
        rewrite(
            ours(case, false)?,
            &replaced("aes256gcm16-prfsha256-ecp256", "aes256gcm16-prfsha384-ecp256"),
        )?;
        ensure!(reload(ours(case, false)?, &[])?.status.success(), "it is valid");
        let said = reload(left, &["--now"])?.stdout;
        ensure!(String::from_utf8_lossy(&said).contains("IKE SA rekeyed now"), "{said:?}");
        wait_for("another IKE SA", Duration::from_secs(5), || {
            Ok((of_both(case, "site")?[0].ike_spi != before[0].ike_spi).then_some(()))
        })
    })?;
    at_rest(case, 1)
}

/// What is logged, and how, follows the file at once; not what the command line or the environment says.
fn log(case: &mut Case) -> Result<()> {
    case.right.start()?;
    let config = ours(case, true)?.config().display().to_string();
    let mut command = ours(case, true)?.command(&["run", "-c", &config]);
    command.env_remove("S2S_GW_LOG");
    let mut daemon = Daemon::new(case.dir.path().join("left.out"));
    daemon.spawn(command)?;
    wait_for("it to answer", Duration::from_secs(10), || {
        Ok(ours(case, true)?.json().ok().map(drop))
    })?;
    case.wait_up(Duration::from_secs(10))?;
    let since = |case: &Case, before: &str| -> Result<String> {
        let log = case.left.log();
        Ok(log.strip_prefix(before).context("the log grew")?.to_owned())
    };

    let said = change(ours(case, true)?, &|text| text + "\n[log]\nlevel = \"error\"\n")?;
    ensure!(said.contains("[log] level") && said.contains("in place"), "{said}");
    let before = case.left.log();
    ours(case, true)?.tell(&["down", "site"])?;
    ensure!(!since(case, &before)?.contains("down-requested"), "{}", since(case, &before)?);
    ensure!(ours(case, true)?.tell(&["events"])?.contains("down-requested"), "but it is an event");

    let louder = replaced("level = \"error\"", "level = \"info\"\nformat = \"json\"");
    let said = change(ours(case, true)?, &louder)?;
    ensure!(said.contains("[log] level, [log] format"), "{said}");
    let before = case.left.log();
    ours(case, true)?.tell(&["up", "site"])?;
    case.wait_up(Duration::from_secs(5))?;
    let lines = since(case, &before)?;
    let told: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let has = |told: &[Value], event: &str| told.iter().any(|line| at(line, "/event") == event);
    ensure!(has(&told, "up-requested") && has(&told, "up"), "{lines}");
    ensure!(!told.iter().any(|line| at(line, "/level") == "debug"), "{lines}");

    let said = change(
        ours(case, true)?,
        &replaced("[connection.site]", "[connection.site]\nlog = \"debug\""),
    )?;
    ensure!(said.contains("log"), "{said}");
    let before = case.left.log();
    ours(case, true)?.tell(&["rekey", "site"])?;
    wait_for("a line about details", Duration::from_secs(5), || {
        let lines = since(case, &before)?;
        let is_detail = |line: &str| line.contains("\"debug\"") && line.contains("\"site\"");
        Ok(lines.lines().any(is_detail).then_some(()))
    })?;

    // This one was started with $S2S_GW_LOG.
    let said = change(ours(case, false)?, &|text| text + "\n[log]\nlevel = \"error\"\n")?;
    ensure!(said.contains("goes before it"), "{said}");
    let before = case.right.log();
    ours(case, false)?.tell(&["rekey", "site"])?;
    wait_for("the other to log as before", Duration::from_secs(5), || {
        let log = case.right.log();
        Ok(log.strip_prefix(&before).unwrap_or_default().contains("INFO").then_some(()))
    })?;
    let (status, _) = daemon.stop(Signal::TERM)?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// SIGHUP does the same, and the log says how it went.
fn signal(case: &mut Case) -> Result<()> {
    two(case)?;
    let before = of_both(case, "site")?;
    let good = std::fs::read_to_string(ours(case, true)?.config())?;
    let hang_up = |case: &mut Case| case.left.daemon().signal(Signal::HUP);
    rewrite(ours(case, true)?, &|text| text + "\nnonsense\n")?;
    hang_up(case)?;
    wait_for("W0603", Duration::from_secs(2), || {
        Ok(warnings(ours(case, true)?)?.contains("W0603").then_some(()))
    })?;
    ensure!(case.left.log().contains("event=config-error"), "the log does not say what is wrong");
    rewrite(ours(case, true)?, &|_| {
        good.split("\n[connection.other]").next().unwrap_or_default().to_owned()
    })?;
    // Many at once are one, or two.
    for _ in 0..20 {
        hang_up(case)?;
    }
    wait_for("the connection to be gone", Duration::from_secs(2), || {
        Ok(facts(ours(case, true)?, "other").is_err().then_some(()))
    })?;
    ensure!(!warnings(ours(case, true)?)?.contains("W0603"), "W0603 stays");
    ensure!(of_both(case, "site")? == before, "the first connection changed");
    ensure!(case.left.log().contains("event=reloaded"), "the log does not say so");
    case.ping_all()
}

/// The same with another implementation at the other end.
fn with_swan(case: &mut Case) -> Result<()> {
    case.up()?;
    let left = case.left.kind() == "ours";
    let before = case.facts()?;
    let ours_now = ours(case, left)?;
    let said = change(ours_now, &replaced("interval = \"1s\"", "interval = \"2s\""))?;
    ensure!(said.contains("dpd") && said.contains("in place"), "{said}");
    pause(Duration::from_secs(1));
    ensure!(case.facts()? == before, "something changed");
    change(ours_now, &|text| {
        text.split("\n[connection.site]").next().unwrap_or_default().to_owned()
    })?;
    let swan = if left { &case.right } else { &case.left };
    wait_for("the other end to be without it", Duration::from_secs(3), || {
        Ok(swan.sas()?.iter().all(|sa| !sa.established).then_some(()))
    })
}
