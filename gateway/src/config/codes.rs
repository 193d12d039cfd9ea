//! Every code of the configuration, once, with what there is to say about it at length.
//!
//! ```text
//!   E01xx  the file and one value in it         E03xx  several connections together
//!   E02xx  what this program never does         E04xx  addresses inside the tunnel
//!   W03xx  works, but look at it               E07xx  configurations of other programs
//! ```

use super::report::Severity;

crate::codes::codes! {
    "A stable code of an error (`E....`) or warning (`W....`) of the configuration."
    Code:

    Syntax "E0100" "the file is not TOML"
        "The text cannot be read as TOML, so nothing in it has a meaning yet. The caret shows where reading stopped making sense; often a quote, a bracket or a comma is missing just before it. Other mistakes of the file show up once this one is gone.";
    UnknownKey "E0101" "unknown key"
        "No key of this name exists in this table. An unknown key is always an error, because a setting that is silently ignored is a setting that somebody believes in. Most are misspelled, and the nearest known name is offered; some stand in the wrong table.";
    FileUnreadable "E0102" "configuration file cannot be read"
        "The operating system refused to give the file, it is no regular file, it is not text in UTF-8, or it is larger than 4 MiB. If there is none yet, `s2s-gw init` makes one from five answers. Commands look for /etc/s2s-gw/s2s-gw.toml; `-c FILE` names another one, and `s2s-gw check FILE` does. Relative paths in `include` start at the directory of the file that includes.";
    NotSupported "E0103" "not supported yet"
        "The key is part of the design of this file, but this version cannot do what it asks for. It is refused rather than ignored: a rule that looks as if it were in force is worse than none. Take it out, or use a version that knows it.";
    FileMode "E0104" "secret is readable by others"
        "A file with a pre-shared key in it, be it a key file or a configuration with `inline`, may only be open to its owner, as with ssh. Otherwise every user of the machine could impersonate the gateway. `chmod 600 FILE` closes it; if it was open for long, make a new key.";
    KeyLines "E0105" "pre-shared key has several lines or a NUL"
        "One newline at the end of a key file is cut off, because editors add it. Any other newline or a NUL octet would become part of the key, and the peer, whose file was made by another editor, would have another key. Write the key on one line, or as hexadecimal digits after `0x`.";
    WrongType "E0106" "wrong type of value"
        "The key wants another type of value: text in quotes, a number, `true` or `false`, a list in brackets or a table in braces.";
    MissingKey "E0107" "required key is missing"
        "The table cannot work without this key and there is no default that would be right for most.";
    Version "E0108" "unknown version of the format"
        "`version` names the version of this file format, not of the program or of the file. This program knows version 1, which is also what a file without `version` has.";
    Duplicate "E0109" "defined twice"
        "The same name is defined in two places, in one file or in two included ones. The program does not choose between them: rename one or delete it.";
    BareNumber "E0110" "number without unit"
        "Durations and sizes need a unit, because every other program has its own idea of it: seconds here, minutes there. Write `\"3600s\"` or `\"1h\"`, `\"500MiB\"` or `\"500GiB\"`, in quotes.";
    BadDuration "E0111" "not a duration"
        "A duration is one or more numbers with units: `\"90s\"`, `\"8h\"`, `\"1h 30m\"`, `\"2d\"`. Units are d, h, m, s, ms and their long forms.";
    BadSize "E0112" "not a size"
        "A size is a number with a unit: `\"512MiB\"`, `\"500GiB\"`, `\"10GB\"`. KiB, MiB, GiB and TiB count in 1024, kB, MB, GB and TB in 1000; B is one octet.";
    OutOfRange "E0113" "value out of range"
        "The value is understood but too small or too large to work. The message names the range.";
    UnknownWord "E0114" "unknown word"
        "The key accepts a few words only. The message lists them, and offers the nearest one.";
    BadName "E0115" "impossible name"
        "Names of connections, policies and networks are 1 to 32 characters out of a-z, 0-9 and `-`. They become parts of commands, metrics and file names, where anything else would need quoting. Names of interfaces are 1 to 15 octets without `/` and white space.";
    Empty "E0116" "empty"
        "An empty text or list has no meaning here. Leave the key out to get its default.";
    BadAddress "E0120" "not an address"
        "An IPv4 address has four numbers up to 255 (`192.0.2.1`), an IPv6 address up to eight groups of hexadecimal digits (`2001:db8::1`). Zones (`%eth0`), multicast and unspecified addresses cannot be used here.";
    BadNetwork "E0121" "not a network"
        "A network is an address and a prefix length: `10.1.0.0/16`, `2001:db8::/32`. A single host is `10.1.0.5/32` or `2001:db8::5/128`. A word without dots and colons is the name of a group in [networks].";
    PrefixLength "E0122" "impossible prefix length"
        "IPv4 addresses have 32 bits, IPv6 addresses 128, so the prefix length after the `/` cannot be larger. A netmask is written as its length: `255.255.0.0` as `/16`. Some implementations quietly use another length; this one asks.";
    HostBits "E0123" "network has host bits set"
        "The address has bits beyond its prefix length: `10.1.0.5/16` may mean the network `10.1.0.0/16` or the host `10.1.0.5/32`. Both gateways have to agree exactly, so write the one that is meant.";
    UnknownNetwork "E0124" "unknown network name"
        "A word in a list of subnets is the name of a group in [networks], and there is no such group.";
    NoSubnets "E0125" "connection without subnets"
        "`local_subnets` and `remote_subnets` say which packets travel in the tunnel; without them there is nothing to protect. For a tunnel that is used by routes alone write `[\"0.0.0.0/0\"]` on both sides and list `routes`.";
    FamilyAlone "E0126" "address family on one side only"
        "A packet has a source and a destination of one family. IPv6 networks on one side need IPv6 networks on the other side, and so with IPv4; a family that is on one side only could never match a packet.";
    Overlap "E0127" "the same network on both sides"
        "A network is listed both as local and as remote, so the gateway cannot know on which side a host is. If both sites really use the same addresses, one of them has to be translated.";
    BadPeer "E0128" "not an address or name of a peer"
        "`peer` takes an IP address, a DNS name, or the word `any`, the first two with an optional `:port`. An IPv6 address with port is written in brackets: `[2001:db8::1]:4500`.";
    PeerFamily "E0129" "no listening address for this peer"
        "`[gateway] listen` has addresses of one family only and the peer has an address of the other one, so no packet could be sent to it. Add an address, or leave `listen` out to use all.";
    BadProposal "E0130" "proposal cannot work"
        "The algorithms are known, but they do not make a complete proposal together: an IKE proposal needs a cipher, a pseudorandom function and a key exchange, and with a cipher that is not AEAD also an integrity algorithm. Keywords are those of strongSwan.";
    UnknownAlgorithm "E0131" "unknown algorithm"
        "No algorithm has this keyword. The keywords are those of strongSwan (`aes256gcm16`, `sha256`, `ecp384` ...), joined by `-`.";
    UnsupportedAlgorithm "E0132" "algorithm that is not offered"
        "The algorithm exists, but this program does not have it: nobody should use it any more (MD5, a MODP group of 768 bits, those of RFC 5114), or nobody asks for it (Camellia, the Brainpool curves). Ask the peer for another one; the message names what is at hand.";
    UnknownPolicy "E0133" "unknown policy"
        "`policy` and `extends` name a table [policy.NAME] or a built-in policy, and there is none of this name.";
    ExtendsLoop "E0134" "policies extend each other in a circle"
        "Following `extends` from this policy leads back to it, so there is no policy to start from.";
    DpdTimes "E0135" "timeout is not longer than interval"
        "Dead peer detection asks after `interval` of silence and gives up after `timeout` of silence. With a timeout that is not longer than the interval the peer would be declared dead before it is asked.";
    BadIdentity "E0136" "not an identity"
        "An identity is an address, a DNS name, a mail address, octets as in `keyid:...`, or the subject of a certificate (`C=DE, O=Example, CN=berlin`). None stands for everybody, as `%any` does elsewhere. The peer compares it octet by octet with what it has been told.";
    Forbidden "E0137" "forbidden algorithm"
        "`forbid` in [security] names an algorithm that no proposal of this gateway may have, so that nobody puts it into a policy by mistake. Take it out of the proposal. A built-in policy that has it cannot be used: list `ike` and `esp` in a policy of your own.";
    LegacyAlgorithm "E0138" "legacy algorithm"
        "The algorithm is kept for peers that have nothing better, and is worn out: 3DES has blocks of 64 bits, SHA-1 has collisions, and a MODP group of 1024 or 1536 bits is within reach of those who record traffic today (RFC 8247 §2.4). The message names what is better and nearly as common: ask whoever runs the peer for it. If it must be, write `allow_legacy = true` into the policy, so that everybody who reads it sees it; `s2s-gw show algorithms` lists what that lets in.";
    Unencrypted "E0139" "algorithm that does not encrypt"
        "`null` and the `gmac` ciphers authenticate packets and leave them readable (RFC 2410, RFC 4543): whoever is on the way reads along. Take a cipher such as `aes256gcm16`. If that is what you want, as where the law or a probe on the way asks for it, write `allow_unencrypted = true` into the policy.";
    AnyNeedsId "E0140" "peer \"any\" needs a peer_id"
        "With `peer = \"any\"` the address says nothing about who is calling, so the identity has to: set `peer_id`. Such a peer cannot be called either, so `start` can only be `respond-only`, and `any` stands alone.";
    SamePeer "E0141" "two connections for the same peer"
        "Two connections have the same peer and the same identities on both sides, so an incoming request could belong to either. Put the subnets of both into one connection, or give them different identities.";
    KeyFile "E0142" "key file cannot be read"
        "The file named by `psk` does not exist or the operating system refuses to give it. The gateway reads it as the user that it runs as; relative paths start at the directory of the configuration file.";
    KeyEmpty "E0143" "pre-shared key is empty"
        "An empty key would let everybody in. `s2s-gw genpsk` makes a good one.";
    KeyShort "E0144" "pre-shared key is too short"
        "Anybody who records one handshake with us can try keys offline as fast as a graphics card can (RFC 7296 §8.1 and §2.15). Keys under 16 octets are refused; `s2s-gw genpsk` makes one of 256 bits.";
    KeyEncoding "E0145" "pre-shared key is badly encoded"
        "A key that starts with `0x` is hexadecimal, two digits per octet; one that starts with `0s` is base64. What follows the prefix does not fit. If the key really starts with these characters, encode it.";
    KeySource "E0146" "psk needs exactly one source"
        "`psk` is a table with one of `file` (path), `credential` (name of a systemd credential) or `inline` (the text itself).";
    NoCredentials "E0147" "no credentials directory"
        "`credential` reads a file that systemd passes with `LoadCredential=`; systemd names their directory in $CREDENTIALS_DIRECTORY, which is not set. Use `file` when the program does not run as such a service.";
    SharedKey "E0148" "key of an \"any\" peer is used elsewhere"
        "A peer that may call from anywhere is known by its key alone, so the key must be its own: whoever has it could otherwise claim to be the other one.";
    MonitorCannotWork "E0149" "monitor cannot work"
        "A monitor asks a host behind the peer through the tunnel: its `target` has to be inside `remote_subnets`, `kind = \"tcp\"` needs a `port`, and `kind = \"icmp\"` has none.";
    CertFile "E0160" "certificate file cannot be used"
        "A file that `cert`, `ca`, `crl`, `peer_cert` or `peer_key` names cannot be read, is not PEM, or has something else in it. Such files are text with `-----BEGIN CERTIFICATE-----`, `-----BEGIN X509 CRL-----` or `-----BEGIN PUBLIC KEY-----`; in `cert` our certificate comes first and each further one is that of the issuer of the one before. The gateway reads them as the user that it runs as; relative paths start at the directory of the configuration file. `s2s-gw pki show FILE` says what is in a file.";
    PrivateKey "E0161" "private key cannot be used"
        "The file that `key` names has no private key that this program can sign with: it wants PEM with `PRIVATE KEY` (PKCS #8), `RSA PRIVATE KEY` or `EC PRIVATE KEY`, not encrypted, since nobody is there to type a passphrase when the gateway starts. Keys may be RSA of 2048 to 4096 bits, ECDSA on P-256, P-384 or P-521, or Ed25519.";
    AuthMixed "E0162" "what proves the identities does not fit together"
        "Each side proves who it is in one way. We: by `cert` with `key`, by `key` alone (a raw public key, RFC 7670), or by `psk`. The peer: by a certificate that `ca` issued, by the very certificate `peer_cert`, by the very key `peer_key`, or by `psk`. `psk` is for each side that has nothing else, and has to be for one; `crl` and `crl_policy` go with `ca`, `rsa_padding` with `key`. What a connection does not say comes from [gateway].";
    KeyMismatch "E0163" "private key is not that of the certificate"
        "`key` is another key than the one that the first certificate in `cert` is for, so nothing that we sign would be believed. Mostly one of the two files is of another gateway, or a new certificate was made with a new key and only one of them copied. `s2s-gw pki show FILE` prints the fingerprint of the public key of either.";
    WeakCertificate "E0164" "kind of key that is not used"
        "The key in a certificate or key file is too weak to prove anything, or of a kind that this program has no signatures for. RSA needs 2048 bits and more; ECDSA on P-256, P-384 and P-521 and Ed25519 can be used. Have a certificate made for a new key.";
    NotAuthority "E0165" "not the certificate of an authority"
        "`ca` names the certificates of those who issue certificates, and they say so themselves (basicConstraints CA:TRUE). A certificate that does not is that of a gateway, and would let nobody else in. To believe the peer's very certificate write `peer_cert`.";
    NotInCertificate "E0166" "identity is not in the certificate"
        "A certificate names whom it is for, in its alternative names (subjectAltName) and its subject, and a peer may claim these identities only (RFC 4945 §3.1). The identity that is configured is not among them, so the other side would refuse it. Without `local_id`, and without `id` in [gateway], the gateway uses the first one in its certificate. A name that stands in the common name alone does not count.";
    CertificateNeedsId "E0167" "certificate without a peer_id"
        "An authority certifies many gateways, and any of them, or whoever gets one of its certificates, would be let in as this peer. So `peer_id` says whom to expect, unless `peer` is an address, which then has to be in the certificate.";
    Ikev1 "E0201" "IKEv1 is not spoken"
        "This program speaks IKEv2 (RFC 7296) only. IKEv1 is deprecated since RFC 9395: it has no answer to floods, its aggressive mode gives the pre-shared key away to offline guessing, and its negotiations fail without saying why. Nearly every peer that speaks IKEv1 speaks IKEv2 as well: switch it over, with the same key.";
    NotEspTunnel "E0202" "AH and transport mode are not supported"
        "A site-to-site gateway carries packets of the networks behind it, which takes tunnel mode. AH protects packets without encrypting them and does not pass a NAT; ESP with AES-GCM does what AH does and encrypts. Set the peer to ESP in tunnel mode.";
    LocalOverlap "E0310" "subnet of the peer is a network of this host"
        "A remote subnet is exactly a network that this host is connected to. Two routes would lead to the same addresses: either hosts of the own LAN would be looked for in the tunnel, or the tunnel would never be used. If both sites really use the same addresses, one of them has to be translated. `check` looks at the host that it runs on: for another machine, check there, or set `routes = \"none\"`.";
    SubnetTwice "E0312" "subnet is claimed by two connections"
        "Two connections want the same packets with the same metric, so the gateway cannot know which tunnel should get them. Delete one subnet, or give the standby connection a higher `metric`: the lower metric wins while its tunnel is up.";
    ManagementOutside "E0402" "management_ip is outside the local subnets"
        "`management_ip` is the address that monitors, pings and traces are sent from. The peer accepts packets from the networks that were agreed on, and drops others, so the address has to be inside `local_subnets`, and this host has to have it. Where connections have different local subnets, give each its own `management_ip`.";
    ForeignSyntax "E0701" "configuration of another program cannot be read"
        "`s2s-gw import` reads swanctl.conf, ipsec.conf, JSON of OpenStack and CloudStack, and XML of AWS. The file is none of these, or is cut off or damaged; the caret shows where reading stopped making sense. Nothing was written.";
    ForeignEmpty "E0702" "nothing to import"
        "The files can be read, but there is no connection in them that this program could have: either they hold something else (policies without a connection, for example), or each of their connections asks for what there is not, which the notes say. OpenStack and CloudStack keep a tunnel in several objects: give all of them at once.";
    WeakAlgorithm "W0301" "algorithm with a warning"
        "`warn` in [security] names an algorithm that a proposal still has. The configuration works. Replace it when the peer can do better, or put it into `forbid` once nobody needs it.";
    WeakKey "W0302" "pre-shared key is weak"
        "The key is text of fewer than 32 octets. People choose guessable text, and a recorded handshake can be attacked offline. `s2s-gw genpsk` makes a key that needs no thought.";
    KeySpace "W0303" "pre-shared key begins or ends with white space"
        "The white space is part of the key, and somebody who copies the key will lose it. If that is not meant, remove it on both gateways.";
    ShortLife "W0304" "very short lifetime"
        "Keys are replaced more often than once a minute. That is good for tests only: every replacement costs a key exchange on both gateways.";
    FileLeftOut "W0305" "included file is left out"
        "An included file has errors. So that one broken file does not keep all other tunnels down, `s2s-gw run` goes on without that file: nothing in it is in force, and its connections do not exist. `s2s-gw check` and the log say what is wrong; mend it and start again. Errors in the main file are never overlooked.";
    OpenPage "W0306" "status page is open to the network"
        "`listen` in [http] is not an address of this host alone, and there is no `read_token`, so everybody who reaches it sees the status page, the metrics and the configuration without its secrets: addresses of peers, networks behind them, identities. Nobody can change anything without `admin_token`. Add `read_token`, or listen on 127.0.0.1 and let a reverse proxy with TLS decide who may look: a token crosses the network in clear without one.";
    Nested "W0313" "a subnet lies within one of another connection"
        "Packets go to the most specific subnet, so the smaller network is taken out of the larger one. That is often meant (one site out of many), and sometimes a mistake.";
    Repeated "W0314" "listed twice"
        "The entry is in the list more than once, or lies within another entry of it. The repetition has no effect.";
    LocalRemoteNested "W0315" "local and remote subnets lie within each other"
        "One network contains the other one across the tunnel. Hubs and spokes do this on purpose (10.0.0.0/8 behind the hub, 10.2.0.0/16 at the spoke); the most specific network wins.";
    PeerInside "W0316" "peer is inside its own remote subnets"
        "The address of the peer lies in a network that is routed into the tunnel, so the encrypted packets to the peer would need the tunnel themselves. The gateway adds a route to the peer's address, which goes before that. Nothing has to be done unless another program takes that route away; `routes` without the peer's address does without.";
    ExpiresSoon "W0320" "certificate expires within 30 days"
        "A certificate of this connection ends soon: ours, the pinned one of the peer, or that of an authority. Put a new one into the same file and `s2s-gw reload`: tunnels stay up, and the new one is used from then on. Make the new certificate before the old one ends, so that the peer can be told in time where it has to be.";
    ExpiresThisWeek "W0321" "certificate expires within 7 days"
        "A certificate of this connection ends this week. When it does, the next authentication fails: after a restart, when a peer was away, or when `auth_lifetime` ends. Put a new one into the same file and `s2s-gw reload`.";
    Expired "W0322" "certificate has expired"
        "A certificate of this connection is past its end. What is up stays up, but no new IKE SA can be authenticated with it; the other side refuses it, or we refuse the peer (E1030). The file is accepted all the same, so that the other connections can start. Put a new one into the same file and `s2s-gw reload`, and see that the clock is right.";
    NotYetValid "W0323" "certificate is not valid yet"
        "A certificate of this connection begins later than now. Mostly the clock of this machine is wrong, for example after it was switched on without a battery for its clock; `date -u` shows it. The file is accepted, and the moment is looked at again at each authentication.";
    ListOld "W0324" "revocation list is out of date"
        "The authority should have made a newer list by now, and a certificate that was revoked since then is not in this one. With `crl_policy = \"require\"` every peer is refused until a newer list is there; otherwise the old one still counts. Put a new list into the same file and `s2s-gw reload`.";
    KeyExport "W0325" "keys of SAs can be asked for"
        "`allow_key_export = true` in [gateway] keeps the keys of every SA in memory as long as the SA, and `s2s-gw keys NAME` gives them to root and to the user that started the daemon, in files that Wireshark reads. Whoever has them reads what these SAs carry, and what was recorded of them. It is for looking for a fault, with test traffic or with the consent of those whose traffic it is. Take it out when you are done and start the gateway again: only then are the keys gone.";
}

impl Code {
    /// `E` is an error, `W` a warning.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self.id().as_bytes() {
            [b'W', ..] => Severity::Warning,
            _ => Severity::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order() {
        let ids: Vec<_> = Code::ALL.iter().map(|code| code.id()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    }

    #[test]
    fn the_letter_is_the_severity() {
        assert_eq!(Code::SubnetTwice.severity(), Severity::Error);
        assert_eq!(Code::Nested.severity(), Severity::Warning);
    }
}
