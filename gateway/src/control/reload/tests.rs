//! Files that change.

use super::*;

#[test]
fn files_that_differ_for_a_minute_are_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let [main, left_out] = ["a.toml", "b.toml"].map(|name| directory.path().join(name));
    fs::write(&main, "x").expect("writes");
    fs::write(&left_out, "broken").expect("writes");
    let poll = mio::Poll::new().expect("a poll");
    let waker = Arc::new(mio::Waker::new(poll.registry(), Token(0)).expect("a waker"));
    let start = clock::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut reloading = Reloading {
        path: main.clone(),
        waker,
        job: None,
        again: false,
        failed: false,
        loaded: clock::wall(),
        stamps: stamps([&main, &left_out].into_iter()),
        patterns: vec![directory.path().join("conf.d/*.toml")],
        differs_since: None,
    };
    let mut warned = |seconds| {
        reloading.look(at(seconds));
        reloading.warnings(at(seconds)).map(Code::id).collect::<Vec<_>>()
    };
    assert_eq!(warned(0), [] as [&str; 0]);
    fs::write(&left_out, "mended").expect("writes");
    assert_eq!(warned(10), [] as [&str; 0], "somebody is at work");
    assert_eq!(warned(69), [] as [&str; 0]);
    assert_eq!(warned(70), ["W0602"], "a file that was left out counts, too");
    fs::remove_file(&main).expect("removes");
    assert_eq!(warned(71), ["W0602"]);
    reloading.stamps = stamps([&left_out].into_iter());
    reloading.look(at(72));
    assert_eq!(reloading.warnings(at(500)).count(), 0, "it was loaded");
    let further = directory.path().join("conf.d/new.toml");
    fs::create_dir(directory.path().join("conf.d")).expect("makes it");
    fs::write(directory.path().join("conf.d/new.toml~"), "no such name").expect("writes");
    reloading.look(at(600));
    assert_eq!(reloading.warnings(at(700)).count(), 0);
    fs::write(&further, "x").expect("writes");
    reloading.look(at(700));
    assert_eq!(reloading.warnings(at(759)).count(), 0);
    let told: Vec<_> = reloading.warnings(at(760)).map(Code::id).collect();
    assert_eq!(told, ["W0602"], "a file that fits a pattern and was not read");
    reloading.stamps = stamps([&left_out, &further].into_iter());
    reloading.look(at(800));
    reloading.failed = true;
    assert_eq!(reloading.warnings(at(500)).map(Code::id).collect::<Vec<_>>(), ["W0603"]);
}

#[test]
fn keys_and_certificates_are_looked_at_like_the_files_that_name_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let [main, key] = ["a.toml", "a.psk"].map(|name| directory.path().join(name));
    let text = "[connection.berlin]\npeer = '198.51.100.20'\npsk = { file = 'a.psk' }\n\
                local_subnets = ['10.1.0.0/16']\nremote_subnets = ['10.2.0.0/16']\n";
    fs::write(&main, text).expect("writes");
    fs::write(&key, "one key of more than thirty-two octets").expect("writes");
    let owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&key, owner).expect("its mode");
    let config = Config::load_in(&main, &config::Surroundings::default());
    let config = config.unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(of_config(&config).collect::<Vec<_>>(), [&main, &key]);
}
