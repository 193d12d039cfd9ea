//! One bad line in a good file: code, line and column, and the words that explain and help.
//!
//! The line under test is always line 2 of the file, in the table that is named first.

use gateway::config::Code;

use super::fixture::{Fixture, compare, diagnostics};

/// A line, and what it is reported as: code, column in line 2, words. A code with a place of its own has no column.
struct Line(&'static str, &'static [(&'static str, usize, &'static [&'static str])]);

/// The rest of the connection, without the key that the line sets.
const CONNECTION: [&str; 4] = [
    "peer = \"198.51.100.20\"",
    "psk = { file = \"good.psk\" }",
    "local_subnets = [\"10.1.0.0/16\"]",
    "remote_subnets = [\"10.2.0.0/16\"]",
];

const OF_CONNECTION: &[Line] = &[
    Line(
        "remote_subnet = [\"10.2.0.0/16\"]",
        &[(
            "E0101",
            1,
            &[
                "unknown key `remote_subnet`",
                "[connection.berlin]",
                "did you mean `remote_subnets`?",
            ],
        )],
    ),
    Line("colour = 1", &[("E0101", 1, &["unknown key `colour`", "known keys: description,"])]),
    Line("mss_clamp = \"of\"", &[("E0114", 13, &["\"auto\", \"off\"", "did you mean `off`?"])]),
    Line("mss_clamp = 100", &[("E0113", 13, &["536 to 65495"])]),
    Line("pfs_check = 1", &[("E0106", 13, &["`true` or `false`"])]),
    Line("log = \"loud\"", &[("E0114", 7, &["\"debug\""])]),
    Line(
        "management_ip = \"10.2.0.1\"",
        &[("E0402", 17, &["10.2.0.1 is outside", "[connection.berlin]"])],
    ),
    Line(
        "failover = { failback = \"never\", probe = 5 }",
        &[("E0114", 25, &["\"auto\", \"manual\""]), ("E0110", 42, &["\"5s\""])],
    ),
    Line("failover = true", &[("E0106", 12, &["a table such as"])]),
    Line("monitor = true", &[("E0106", 11, &["[[connection.berlin.monitor]]"])]),
    Line(
        "monitor = [{ kind = \"icmp\", target = \"10.1.0.1\" }, { kind = \"tcp\" }]",
        &[
            ("E0149", 38, &["10.1.0.1 is not behind the peer", "`remote_subnets`"]),
            ("E0107", 52, &["has no `target`"]),
            ("E0149", 52, &["needs a `port`", "port = 443"]),
        ],
    ),
    Line(
        "monitor = [{ kind = \"icmp\", target = \"10.2.0.1\", port = 7, color = 1 }]",
        &[("E0149", 57, &["ICMP has no ports"]), ("E0101", 60, &["known keys: kind"])],
    ),
    // keys of other programs
    Line(
        "leftsubnet = \"10.1.0.0/16\"",
        &[("E0101", 1, &["a key of another program", "that is `local_subnets` here"])],
    ),
    Line("right = \"198.51.100.20\"", &[("E0101", 1, &["that is `peer` here"])]),
    Line("local_ts = \"10.1.0.0/16\"", &[("E0101", 1, &["that is `local_subnets` here"])]),
    Line("peer_cidrs = \"10.2.0.0/16\"", &[("E0101", 1, &["that is `remote_subnets` here"])]),
    Line("keyingtries = 3", &[("E0101", 1, &["always tries again"])]),
    Line("rekey_time = \"1h\"", &[("E0101", 1, &["`ike_lifetime` or `esp_lifetime` of a policy"])]),
    Line("ikelifetime = \"8h\"", &[("E0101", 1, &["`ike_lifetime` of a policy"])]),
    Line("auto = \"start\"", &[("E0101", 1, &["that is `start` here"])]),
    Line("ike = \"aes256-sha256-modp2048\"", &[("E0101", 1, &["in [policy.NAME]"])]),
    Line("keyexchange = \"ikev2\"", &[("E0101", 1, &["always spoken", "delete it"])]),
    Line("keyexchange = \"ikev1\"", &[("E0201", 1, &["IKEv1 is not spoken", "RFC 9395"])]),
    Line("ike_version = 1", &[("E0201", 1, &["switch the peer to IKEv2"])]),
    Line("aggressive = true", &[("E0201", 1, &["deprecated"])]),
    Line("type = \"tunnel\"", &[("E0101", 1, &["always tunnel mode"])]),
    Line("type = \"transport\"", &[("E0202", 1, &["transport mode is not supported"])]),
    Line("ah = \"sha256\"", &[("E0202", 1, &["AH is not supported", "ESP in tunnel mode"])]),
    // types
    Line("description = 3", &[("E0106", 15, &["`description` wants text", "a whole number"])]),
    Line("enabled = \"yes\"", &[("E0106", 11, &["`true` or `false`", "this is text"])]),
    Line("metric = \"100\"", &[("E0106", 10, &["whole number without quotes"])]),
    Line("remote_subnets = true", &[("E0106", 18, &["a list of texts"])]),
    Line(
        "remote_subnets = [\"10.2.0.0/16\", 7]",
        &[("E0106", 34, &["text in quotes", "a whole number"])],
    ),
    Line("dpd = true", &[("E0106", 7, &["`dpd` wants a table", "`false`"])]),
    Line("description = \"\"", &[("E0116", 15, &["empty text"])]),
    Line("local_subnets = []", &[("E0116", 17, &["empty list", "delete `local_subnets`"])]),
    // numbers
    Line("metric = -1", &[("E0113", 10, &["must be 0 to 4294967295"])]),
    Line("metric = 4294967296", &[("E0113", 10, &["out of range"])]),
    Line("metric = 99999999999999999999", &[("E0113", 10, &["out of range"])]),
    Line("mtu = 500", &[("E0113", 7, &["576 to 65535"])]),
    Line("mtu = \"automatic\"", &[("E0114", 7, &["\"auto\""])]),
    Line("replay_window = 31", &[("E0113", 17, &["32 to 65536"])]),
    Line("replay_window = 65537", &[("E0113", 17, &["32 to 65536"])]),
    // durations
    Line("nat_keepalive = 20", &[("E0110", 17, &["number without unit", "\"20s\""])]),
    Line("nat_keepalive = \"20\"", &[("E0110", 17, &["\"20s\""])]),
    Line(
        "nat_keepalive = \"20 parsecs\"",
        &[("E0111", 17, &["`20 parsecs` is not a duration", "\"1h 30m\""])],
    ),
    Line("nat_keepalive = \"-20s\"", &[("E0111", 17, &["not a duration"])]),
    Line("auth_lifetime = \"1m\"", &[("E0113", 17, &["must be 5m to"])]),
    Line("fragmentation = \"on\"", &[("E0106", 17, &["`true`, `false` or a number of octets"])]),
    Line("fragmentation = 100", &[("E0113", 17, &["576 to 9000"])]),
    Line("childless = \"alow\"", &[("E0114", 13, &["\"never\"", "did you mean `allow`?"])]),
    Line("mobike = \"yes\"", &[("E0106", 10, &["true", "false"])]),
    Line("nat_keepalive = \"2h\"", &[("E0113", 17, &["must be 1s to 1h"])]),
    Line("dpd = { interval = 30 }", &[("E0110", 20, &["\"30s\""])]),
    Line(
        "dpd = { intervall = \"30s\" }",
        &[("E0101", 9, &["`dpd` of [connection.berlin]", "did you mean `interval`?"])],
    ),
    Line("dpd = { interval = \"2m\" }", &[("E0135", 20, &["interval 2m, timeout 2m", "\"8m\""])]),
    Line(
        "dpd = { timeout = \"10s\" }",
        &[("E0135", 19, &["interval 30s, timeout 10s", "declared dead"])],
    ),
    Line("dpd = { action = \"hold\" }", &[("E0114", 18, &["\"restart\", \"clear\", \"trap\""])]),
    Line("dpd = { action = \"restart-peer\" }", &[("E0103", 18, &["all connections to a peer"])]),
    // words
    Line(
        "start = \"allways\"",
        &[("E0114", 9, &["unknown start `allways`", "\"respond-only\"", "did you mean `always`?"])],
    ),
    Line("encap = \"never\"", &[("E0114", 9, &["\"force\" or \"auto\""])]),
    Line("selectors = \"spilt\"", &[("E0114", 13, &["did you mean `split`?"])]),
    Line("routes = \"non\"", &[("E0114", 10, &["did you mean `none`?"])]),
    Line(
        "policy = \"strnog\"",
        &[(
            "E0133",
            10,
            &["unknown policy `strnog`", "policies: aws, azure, cnsa, cnsa2, compat, default"],
        )],
    ),
    Line("policy = \"defualt\"", &[("E0133", 10, &["did you mean `default`?"])]),
    // peers
    Line("peer = \"300.1.1.1\"", &[("E0128", 8, &["not an IPv4 address", "\"198.51.100.20\""])]),
    Line("peer = \"10.0.0.0/8\"", &[("E0128", 8, &["one host, not a network"])]),
    Line(
        "peer = [\"a.example.com\", \"b.example.com:99999\"]",
        &[("E0128", 26, &["`99999` is not a port", "1 to 65535"])],
    ),
    Line("peer = \"0.0.0.0\"", &[("E0128", 8, &["write \"any\""])]),
    Line("peer = \"any\"", &[("E0140", 8, &["needs a `peer_id`", "identity"])]),
    Line(
        "peer = [\"any\", \"198.51.100.20\"]",
        &[("E0140", 8, &["needs a `peer_id`"]), ("E0140", 9, &["stands beside other peers"])],
    ),
    Line(
        "peer = [\"a.example.com\", \"A.example.com.\"]",
        &[("W0314", 26, &["a.example.com is listed already"])],
    ),
    Line(
        "peer_id = \"two words\"",
        &[("E0136", 11, &["`two words` is not an identity", "keyid:"])],
    ),
    Line("local_id = \"ipv4:nowhere\"", &[("E0136", 12, &["not an address of that family"])]),
    // keys
    Line("psk = \"hunter2\"", &[("E0146", 7, &["wants a table", "{ file = \"PATH\" }"])]),
    Line(
        "ppk = \"hunter2\"",
        &[("E0146", 7, &["`ppk` wants a table", "ppk = { file = \"PATH\" }"])],
    ),
    Line("ppk = { id = \"a\" }", &[("E0146", 7, &["`ppk` names no source"])]),
    Line(
        "ppk = { file = \"good.psk\" }",
        &[("E0107", 7, &["has no `id`", "the same on both sides"])],
    ),
    Line(
        "ppk = { file = \"good.psk\", id = \"a\", required = 1 }",
        &[("E0106", 49, &["`true` or `false`"])],
    ),
    Line("ppk = { inline = \"hunter2\", id = \"a\" }", &[("E0144", 18, &["too short"])]),
    Line(
        "ppk = { file = \"good.psk\", id = \"a\", mix = \"later\" }",
        &[("E0114", 44, &["before-auth"])],
    ),
    Line(
        "ppk = { file = \"good.psk\", id = \"a\", others = [{ inline = \"hunter2\", id = \"b\" }] }",
        &[("E0144", 59, &["too short"])],
    ),
    Line(
        "ppk = { file = \"good.psk\", id = \"a\", others = [{ file = \"good.psk\", id = \"a\" }] }",
        &[("E0109", 74, &["the name of another"])],
    ),
    Line(
        "ppk = { file = \"good.psk\", id = \"a\", others = [{ id = \"b\" }] }",
        &[("E0146", 48, &["names no source"])],
    ),
    Line("psk = {}", &[("E0146", 7, &["no source"])]),
    Line(
        "psk = { file = \"good.psk\", credential = \"paris.psk\" }",
        &[("E0146", 7, &["several sources"])],
    ),
    Line("psk = { flie = \"good.psk\" }", &[("E0101", 9, &["did you mean `file`?"])]),
    Line("psk = { inlin = \"hunter2\" }", &[("E0101", 9, &["did you mean `inline`?"])]),
    Line("psk = { inline = \"hunter2\" }", &[("E0144", 18, &["too short", "s2s-gw genpsk"])]),
    Line(
        "psk = { file = \"none.psk\" }",
        &[("E0142", 16, &["no such file", "s2s-gw genpsk > /", "/none.psk)"])],
    ),
    Line("psk = { file = \"conf.d\" }", &[("E0142", 16, &["not a regular file"])]),
    Line("psk = { file = \"huge.psk\" }", &[("E0142", 16, &["too large"])]),
    Line(
        "psk = { file = \"open.psk\" }",
        &[("E0104", 16, &["mode is 0644", "impersonate", "chmod 600 /", "/open.psk"])],
    ),
    Line(
        "psk = { file = \"empty.psk\" }",
        &[("E0143", 16, &["empty", "let everybody in", "genpsk"])],
    ),
    Line(
        "psk = { file = \"short.psk\" }",
        &[("E0144", 16, &["fewer than 16 octets", "offline", "genpsk"])],
    ),
    Line("psk = { file = \"weak.psk\" }", &[("W0302", 16, &["fewer than 32 octets", "genpsk"])]),
    Line("psk = { file = \"space.psk\" }", &[("W0303", 16, &["white space", "both gateways"])]),
    Line("psk = { file = \"lines.psk\" }", &[("E0105", 16, &["line break", "one line"])]),
    Line("psk = { file = \"nul.psk\" }", &[("E0105", 16, &["NUL"])]),
    Line("psk = { file = \"bad-hex.psk\" }", &[("E0145", 16, &["`0x`", "hexadecimal"])]),
    Line("psk = { file = \"bad-base64.psk\" }", &[("E0145", 16, &["`0s`", "base64"])]),
    Line("psk = { credential = \"../good.psk\" }", &[("E0142", 22, &["a name, not a path"])]),
    Line("psk = { credential = \"none\" }", &[("E0142", 22, &["no such file"])]),
    // networks
    Line(
        "remote_subnets = [\"10.2.0.5/16\"]",
        &[("E0123", 19, &["host bits", "10.2.0.0/16", "10.2.0.5/32"])],
    ),
    Line(
        "remote_subnets = [\"10.2.0.0/160\"]",
        &[("E0122", 19, &["prefix length 160", "0 to 32", "did you mean /16?"])],
    ),
    Line(
        "remote_subnets = [\"2001:db8::/129\"]",
        &[("E0122", 19, &["0 to 128", "did you mean /12?"])],
    ),
    Line("remote_subnets = [\"10.2.0.0/+16\"]", &[("E0122", 19, &["prefix length +16"])]),
    Line("remote_subnets = [\"10.2.0.0\"]", &[("E0121", 19, &["no prefix length", "10.2.0.0/32"])]),
    Line("remote_subnets = [\"10.2.0/16\"]", &[("E0121", 19, &["`10.2.0` is not an address"])]),
    Line(
        "remote_subnets = [\"branches\"]",
        &[("E0124", 19, &["unknown network `branches`", "[networks]"])],
    ),
    Line("remote_subnets = [\"10.1.0.0/16\"]", &[("E0127", 19, &["both local and remote"])]),
    Line(
        "remote_subnets = [\"10.1.1.0/24\"]",
        &[("W0315", 19, &["10.1.1.0/24 lies within 10.1.0.0/16"])],
    ),
    Line(
        "remote_subnets = [\"10.2.0.0/16\", \"10.2.0.0/16\"]",
        &[("W0314", 34, &["listed already"])],
    ),
    Line(
        "remote_subnets = [\"10.2.0.0/16\", \"10.2.3.0/24\"]",
        &[("W0314", 34, &["lies within 10.2.0.0/16"])],
    ),
    Line(
        "remote_subnets = [\"10.2.0.0/16\", \"2001:db8::/32\"]",
        &[("E0126", 34, &["no IPv6 network on the local side", "`local_subnets`"])],
    ),
    Line(
        "remote_subnets = [\"198.51.100.0/24\"]",
        &[("W0316 3:8", 0, &["198.51.100.20 is inside 198.51.100.0/24", "a route to the peer"])],
    ),
    Line("routes = [\"10.2.0.0/16\", \"10.3.0.1/16\"]", &[("E0123", 26, &["10.3.0.0/16"])]),
    Line("routes = [\"198.51.0.0/16\"]", &[("W0316 3:8", 0, &["inside 198.51.0.0/16"])]),
];

const OF_GATEWAY: &[Line] = &[
    Line("nmae = \"fra1\"", &[("E0101", 1, &["[gateway]", "did you mean `name`?"])]),
    Line(
        "state = \"state.json\"",
        &[("E0113", 9, &["a path from the root", "/var/lib/s2s-gw/state.json"])],
    ),
    Line("user = \"s2s gw\"", &[("E0115", 8, &["name a user", "root"])]),
    Line("sandbox = \"maybe\"", &[("E0114", 11, &["on", "off"])]),
    Line(
        "management_ip = \"10.5.255.1\"",
        &[("E0402", 17, &["of every connection", "the peer agreed to"])],
    ),
    Line(
        "public_addresses = [\"203.0.113\"]",
        &[("E0103", 1, &["in front of a NAT"]), ("E0120", 21, &["not an IPv4"])],
    ),
    Line("name = \"fra 1\"", &[("E0115", 8, &["name a gateway"])]),
    Line(
        "listen = [\"203.0.113.10\", \"203.0.113.300\"]",
        &[("E0120", 27, &["not an IPv4 or IPv6 address"])],
    ),
    Line("listen = \"ff02::1\"", &[("E0120", 10, &["address of many hosts"])]),
    Line("listen = \"2001:db8::1\"", &[("E0129 4:8", 0, &["no IPv4 address", "`listen`"])]),
    Line("listen = [\"203.0.113.10\", \"203.0.113.10\"]", &[("W0314", 27, &["listed already"])]),
    Line("ike_port = 0", &[("E0113", 12, &["1 to 65535"])]),
    Line("nat_port = 500", &[("E0113", 12, &["the same", "RFC 3948"])]),
    Line("workers = 0", &[("E0113", 11, &["1 to 64"])]),
    Line("cookie_threshold = -1", &[("E0113", 20, &["0 to 100000"])]),
    Line("cookie_treshold = 0", &[("E0101", 1, &["did you mean `cookie_threshold`?"])]),
    Line("max_half_open = 0", &[("E0113", 17, &["1 to 100000"])]),
    Line("tun = \"a-name-too-long-for-linux\"", &[("E0115", 7, &["1 to 15"])]),
    Line("tun = \"s2s%d\"", &[("E0115", 7, &["interface"])]),
    Line("mtu = \"1400\"", &[("E0114", 7, &["\"auto\""])]),
    Line("id = \"\"", &[("E0116", 6, &["empty"])]),
];

const OF_POLICY: &[Line] = &[
    Line("iek = []", &[("E0101", 1, &["[policy.strong]", "did you mean `ike`?"])]),
    Line("pfs_check = 1", &[("E0106", 13, &["`true` or `false`"])]),
    Line(
        "ike = [\"aes256gcm16-prfsha384-ecp38\"]",
        &[(
            "E0131",
            31,
            &["unknown algorithm `ecp38` in `ike` proposal 1", "did you mean `ecp384`?"],
        )],
    ),
    Line(
        "esp = [\"aes256gcm16\", 'aes265gcm16']",
        &[("E0131", 24, &["`esp` proposal 2", "did you mean `aes256gcm16`"])],
    ),
    Line("ike = \"rot13-sha256-ecp384\"", &[("E0131", 8, &["`rot13`", "algorithms: aes256gcm16"])]),
    Line("esp = [\"aes256\\u0067cm17\"]", &[("E0131", 8, &["`aes256gcm17`"])]),
    Line(
        "ike = \"aes256-sha256-modp1024\"",
        &[("E0138", 22, &["`modp1024`", "too weak", "`modp2048`", "allow_legacy = true"])],
    ),
    Line("allow_legacy = true\nike = \"3des-sha1-modp1024\"\nesp = \"aes256-sha256\"", &[]),
    Line("allow_legacy = true\nike = \"aes256-md5-modp1024\"", &[("E0132 3:15", 0, &["`md5`"])]),
    Line("allow_legacy = \"yes\"", &[("E0106", 16, &["allow_legacy"])]),
    Line(
        "esp = \"null-sha256\"",
        &[("E0139", 8, &["`null`", "readable", "aes256gcm16", "allow_unencrypted = true"])],
    ),
    Line(
        "ike = \"aes256gmac-prfsha256-ecp256\"",
        &[("E0130", 8, &["no place in an IKE proposal"])],
    ),
    Line(
        "ike = \"aes256-sha256\"",
        &[("E0130", 7, &["key exchange", "aes256gcm16-prfsha384-ecp384"])],
    ),
    Line("esp = \"aes256\"", &[("E0130", 7, &["integrity"])]),
    Line("extends = \"weak\"", &[("E0133", 11, &["`extends` wants the name of a policy"])]),
    Line("extends = \"strong\"", &[("E0134", 11, &["`strong` extends `strong`", "delete one"])]),
    Line("ike_lifetime = 28800", &[("E0110", 16, &["\"28800s\" or \"8h\""])]),
    Line("ike_lifetime = \"8 hourz\"", &[("E0111", 16, &["`8 hourz`"])]),
    Line("ike_lifetime = \"400d\"", &[("E0113", 16, &["1s to 30d"])]),
    Line("esp_lifetime = \"20s\"", &[("W0304", 16, &["more often than once a minute"])]),
    Line("esp_lifebytes = 500", &[("E0110", 17, &["\"500B\" or \"500GiB\""])]),
    Line("esp_lifebytes = \"500gib\"", &[("E0112", 17, &["not a size", "did you mean `500GiB`?"])]),
    Line("esp_lifebytes = \"5B\"", &[("E0113", 17, &["65536 octets or more"])]),
    Line("esp_lifepackets = 3", &[("E0113", 19, &["must be 64"])]),
];

const OF_FILE: &[Line] = &[
    Line("version = 2", &[("E0108", 11, &["version 2", "version 1"])]),
    Line("verison = 1", &[("E0101", 1, &["this file", "did you mean `version`?"])]),
    Line("include = [\"none.toml\"]", &[("E0102", 12, &["none.toml", "no such file"])]),
    Line("conection = 1", &[("E0101", 1, &["did you mean `connection`?"])]),
    Line("gateway = 1", &[("E0106", 11, &["[gateway]"])]),
    Line(
        "networks = { lan = [\"10.1.0.0/16\"], LAN = [\"10.1.0.0/16\"] }",
        &[("E0115", 37, &["a-z", "call it `lan`"])],
    ),
    Line("networks = { lan = [\"10.1.0.0\"] }", &[("E0121", 21, &["prefix length"])]),
    Line("policy = { default = {} }", &[("E0109", 12, &["built in", "extends = \"default\""])]),
    Line("http = { listen = \"127.0.0.1:99999\" }", &[("E0120", 19, &["an address and a port"])]),
    Line("http = { listne = \"127.0.0.1\" }", &[("E0101", 10, &["did you mean `listen`?"])]),
    Line(
        "log = { level = \"lout\" }",
        &[("E0114", 17, &["says not what to log", "\"info,ike=debug\""])],
    ),
    Line("log = { format = \"xml\" }", &[("E0114", 18, &["\"text\" or \"json\""])]),
    Line("log = \"info\"", &[("E0106", 7, &["[log]"])]),
    Line("security = { forbit = [\"sha1\"] }", &[("E0101", 14, &["did you mean `forbid`?"])]),
    Line(
        "security = { warn = [\"modp2048\", \"modp1023\"] }",
        &[
            ("E0131", 34, &["unknown algorithm `modp1023` in [security]"]),
            ("W0301 3:13", 0, &["warns of algorithm `modp2048`", "policy `default` has it"]),
        ],
    ),
    Line(
        "security = { forbid = [\"modp2048\"] }",
        &[("E0137 3:13", 0, &["forbids algorithm `modp2048`", "in a policy of your own"])],
    ),
    Line("key = \"hunter2", &[("E0100", 15, &["not TOML"])]),
    Line("a = = 1", &[("E0100", 5, &["not TOML"]), ("E0100", 7, &["not TOML"])]),
];

#[test]
fn every_bad_line_is_reported_at_its_place_with_words_that_help() {
    all_lines();
}

/// The codes that were seen.
pub(super) fn all_lines() -> Vec<Code> {
    let fixture = Fixture::new();
    std::fs::create_dir_all(fixture.path("conf.d")).unwrap();
    let rest = |line: &str| {
        let key = line.split(' ').next().unwrap();
        let others: Vec<_> =
            CONNECTION.into_iter().filter(|other| !other.starts_with(&format!("{key} "))).collect();
        others.join("\n")
    };
    let mut seen = Vec::new();
    for line in OF_CONNECTION {
        seen.extend(check(
            &fixture,
            line,
            &format!("[connection.berlin]\n{}\n{}\n", line.0, rest(line.0)),
        ));
    }
    let connection = format!("[connection.berlin]\n{}\n", CONNECTION.join("\n"));
    for line in OF_GATEWAY {
        seen.extend(check(&fixture, line, &format!("[gateway]\n{}\n{connection}", line.0)));
    }
    for line in OF_POLICY {
        seen.extend(check(&fixture, line, &format!("[policy.strong]\n{}\n{connection}", line.0)));
    }
    for line in OF_FILE {
        seen.extend(check(&fixture, line, &format!("# a file\n{}\n{connection}", line.0)));
    }
    seen
}

fn check(fixture: &Fixture, line: &Line, text: &str) -> Vec<Code> {
    let found = diagnostics(fixture.load(text));
    let expected: Vec<_> = line
        .1
        .iter()
        .map(|(code, column, words)| {
            let has_place = code.contains(' ');
            let head = if has_place { (*code).to_owned() } else { format!("{code} 2:{column}") };
            (head, words.iter().map(ToString::to_string).collect())
        })
        .collect();
    compare(line.0, &found, &expected)
}
