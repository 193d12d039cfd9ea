//! Every code of the running gateway, once, with what there is to say about it at length.
//!
//! ```text
//!   E10xx  why a connection is not up      W05xx  the host keeps tunnels from working
//! ```

crate::codes::codes! {
    "A stable code of a reason (`E10..`) or of a warning about the host (`W05..`) in status and logs."
    Code:

    NotForwarding "W0501" "this host does not forward packets"
        "The kernel passes packets between a LAN and the tunnel only if forwarding is on: `sysctl -w net.ipv4.ip_forward=1`, for IPv6 `net.ipv6.conf.all.forwarding=1`, and both in /etc/sysctl.d so that they survive a restart. Without it the tunnel comes up, and only this host itself can use it. The gateway looks every second, and speaks of it after five.";
    Foreign "W0502" "the kernel has IPsec policies of another program"
        "The kernel does IPsec of its own (xfrm), for programs such as strongSwan and Libreswan, and has policies that somebody made: `ip xfrm policy` shows them. What they match they take or drop, before it gets to this gateway or after it has left. Stop the other program, and remove what it left with `ip xfrm policy flush` and `ip xfrm state flush`; or see that its networks and peers are others than ours. The gateway looks every minute.";
    RouteRefused "W0503" "a route of ours could not be installed"
        "The kernel refused a route into the tunnel; the log line `route-failed` says why. Mostly somebody else has a route for the same destination with the same metric: see `ip route show`, then delete that route or choose another `metric`. Until then packets to that network do not enter the tunnel.";
    MtuTooLarge "W0504" "mtu of a connection is more than fits"
        "`mtu` of a connection asks for longer packets than its tunnel carries: what is left of the path after the headers of ESP, or the MTU of the TUN device, is less. The smaller size is in force, so nothing is lost, but `mtu` does not do what it says. The log line `mtu-too-large` names the connection and the size that fits. Write that, or leave `mtu` out.";
    DeviceLost "W0505" "the TUN device is gone and could not be made again"
        "Somebody switched off or removed the TUN device of the gateway (`ip link set s2s0 down`, `ip link del s2s0`), and it could not be mended; the message says why not. Until it can, no packet enters or leaves a tunnel, and none leaves in clear either (`leak_protection`). It is tried every second, and the SAs stand meanwhile. Look at `ip link show`: perhaps another device has the name now.";
    CannotSend "W0506" "packets to a peer cannot be sent"
        "The kernel refuses to send ESP or IKE to a peer; the message says why. `operation not permitted` is a firewall rule of this host for outgoing packets (`nft list ruleset`), `network is unreachable` a route that is missing, `no buffer space available` a device that takes no more. What is lost is sent again where the protocol does so; the warning goes a few seconds after the last refusal.";
    InboundOpen "W0507" "packets in clear from remote networks are not kept out"
        "Whoever is beside this host can send it packets in clear with a sender in a remote network, which should come through the tunnel only (RFC 4301 §5.2). The gateway keeps them out with a rule of nf_tables of its own, and this kernel refused it; the log line `inbound-unfiltered` says why. Without it `sysctl -w net.ipv4.conf.all.rp_filter=1` does the same for IPv4, on hosts whose other packets come and go the same way; for IPv6 a firewall rule has to. Nothing leaves in clear because of that.";
    OldCredentials "W0601" "what a reload changed could not be agreed on; the old IKE SA stays"
        "A reload changed the address, an identity or the key of a peer, or something else that is said only when an IKE SA begins. The new IKE SA could not be had, so the tunnel goes on with the old one; nothing is lost. The log line `not-superseded` says why, mostly that the other side has not been changed yet. It is tried again every minute, and at each `s2s-gw reload`. If the old SA ends before that, the connection is down until both sides agree.";
    FileNewer "W0602" "the configuration file is newer than what runs"
        "A file that the gateway has read, also one with a key or certificate, changed more than a minute ago, or a further one fits an `include`, and was not loaded. `s2s-gw reload --dry-run` shows what is different, `s2s-gw reload` puts it in force. A restart would load it too.";
    ReloadFailed "W0603" "the last reload was refused"
        "The files had errors, or needed a restart, when they were to be loaded, so nothing was changed and the gateway runs as before. `s2s-gw check` shows the errors. The warning goes with the next good `s2s-gw reload`. A restart would fail now, or leave out the file that has errors.";
    NoState "W0604" "what outlives a restart cannot be read or written"
        "The file of `state` in [gateway], /var/lib/s2s-gw/state.json by default, keeps over a restart what commands decided (`up`, `down`, `failover`) and the last good address of each peer that has a name. It could not be read when the gateway started, and was ignored, or it cannot be written now; the log lines `state-ignored` and `state-unwritten` say why. Tunnels are not affected. The service has the directory by StateDirectory=; elsewhere the user of the gateway has to be allowed to write there. `state = \"off\"` keeps nothing, without a warning. It has no secret in it.";
    OnStandby "W0702" "the connection runs over a standby endpoint"
        "The SAs are not with the first endpoint in `peer` but with a later one, because the first did not answer or because `s2s-gw failover` wanted it so. Packets pass. With `failover.failback` the gateway goes back by itself when the first one answers again; otherwise `s2s-gw failover NAME --to ENDPOINT` does it, without losing a packet. `s2s-gw status NAME` shows which endpoints answer.";
    Closed "E1000" "closed on purpose"
        "An SA ended because somebody here wanted it to, or because a newer one has taken its place. Nothing is wrong. A connection that was taken down stays down until `s2s-gw up NAME`.";
    NoAnswer "E1001" "the peer does not answer"
        "We sent IKE_SA_INIT and nothing came back, so not even the first message was understood there. The address may be wrong, the peer may not run, or a firewall drops UDP 500 or 4500 on the way there or back. On the peer `tcpdump -n udp port 500` shows whether our packets arrive. The gateway goes on trying for ever.";
    NoPath "E1002" "no way to the peer"
        "The name of the peer cannot be resolved, or the routing table of this host has no route to its address. `getent hosts NAME` and `ip route get ADDRESS` show what this host knows. Both are looked at again every few seconds.";
    IkeProposal "E1003" "no IKE proposal suits both sides"
        "The two gateways have no complete set of algorithms for the IKE SA in common (NO_PROPOSAL_CHOSEN). `s2s-gw status NAME` shows our proposals, on the side that was called also the peer's, and what differs in the closest pair. Change `ike` in the policy here or the peer's list; keywords are those of strongSwan.";
    EspProposal "E1004" "no ESP proposal suits both sides"
        "IKE works and the peer is who it should be, but the two gateways have no complete set of algorithms for the tunnel itself in common. Compare `esp` in the policy with the peer's list. A group in it means perfect forward secrecy; the first tunnel comes up without one, so a difference in the group alone shows only when keys are replaced.";
    Selectors "E1005" "the two sides protect different networks"
        "No pair of networks is wanted by both sides (TS_UNACCEPTABLE). Our `local_subnets` have to be the peer's remote ones and our `remote_subnets` its local ones. Some peers take only one network on each side in one tunnel.";
    Narrowed "E1006" "the peer carries less than we asked for"
        "The two gateways agreed on a child SA, but the networks that both of them have are less than those that are configured here (RFC 7296 §2.9), so the peer took only these. They pass; packets to or from the rest are dropped here, and counted as selector-mismatch. `s2s-gw status NAME` shows what was asked for and what was left. Our `local_subnets` have to be the peer's remote ones and our `remote_subnets` its local ones. Of 0.0.0.0/0 or ::/0 only that is missed which `routes` leads into the tunnel.";
    RefusedByPeer "E1007" "the peer refuses our identity or our key"
        "The peer answered AUTHENTICATION_FAILED and, as it should, does not say why. Either the pre-shared keys differ, or the peer has no entry for the identity that we sent, or it looks for us at another address. Its log knows which; the message here names the identity that we sent, which has to be what the peer calls us.";
    WrongKey "E1008" "the peer has another key"
        "The peer has told an identity that we know, but its proof was made with another pre-shared key than ours. Copy the key file again, octet by octet: a line end in the middle, a blank at the end or another encoding is enough. `s2s-gw check` warns of such keys.";
    Ppk "E1021" "the post-quantum keys of the two sides do not go together"
        "`ppk` of the connection names a key that is mixed into those of the tunnel (RFC 8784, RFC 9867), beside whatever proves who the peer is. Both sides have to have the same key under the same `id`, and `mix` has to leave them a common way: `before-auth` finds none with peers that know RFC 8784 alone. With `required = true`, the default, a peer without it is refused, and so are we by a peer that requires one. While keys are being rolled out `required = false` on both sides lets tunnels come up without; `s2s-gw status NAME` shows which have it. The peer that sees what is wrong is mostly the one that was called.";
    WrongIdentity "E1009" "the peer claims another identity"
        "Somebody answers at the address of the peer, or calls from it, and names an identity that we do not expect. Without `peer_id` the identity has to be the address of the peer; behind a NAT it mostly is another one. Set `peer_id` to what the peer sends, if that is the right peer, or correct its own identity.";
    DeadPeer "E1010" "the peer went silent"
        "For the whole timeout of dead peer detection nothing authentic came from the peer, neither packets nor answers to our questions. The peer or the path to it is down. What happens next is `dpd.action`; by default the gateway calls the peer until it answers.";
    Pfs "E1011" "the two sides do not agree on PFS"
        "The first SAs of a tunnel have no key exchange of their own; those that replace them have one if `esp` of the policy names a group (perfect forward secrecy). The peer refuses that: it wants another group, or none. Half a minute after the start the gateway replaces the SAs once to find that out (`pfs_check`), while the first ones still carry packets; when their lifetime ends the tunnel breaks. Put the same group into the ESP proposals of both sides.";
    PeerDeleted "E1012" "the peer closed the connection"
        "The peer told us that it removed the SA. It may have been restarted, its operator may have taken the tunnel down, or it closes tunnels that nobody uses; its log says which. We call again at once, unless `start` says otherwise.";
    PeerRestarted "E1013" "the peer came back without memory of us"
        "A new SA began with INITIAL_CONTACT: the peer knows nothing of the one before, so that one was removed. This is right after a restart or crash of the peer. If it happens again and again, two gateways use the same identity and push each other out.";
    PeerRefused "E1014" "the peer answered with an error"
        "The peer answered a request with an error that has no code of its own here; the message names it as RFC 7296 does. The peer's log says what it did not like.";
    Protocol "E1015" "the peer broke the protocol"
        "A message was authentic and yet not what RFC 7296 allows at that point. It is a defect of one of the two programs: please report it, with a capture of UDP 500 and 4500 and the log from `s2s-gw run --log debug`. Neither has a key in it.";
    OneWay "E1016" "packets leave and none comes back"
        "The tunnel is up and carries our packets, but nothing has come through it in the other direction. Often the hosts behind the peer have no route back to our networks, a firewall drops UDP 4500 or, without NAT traversal, IP protocol 50, or the hosts that we send to do not answer. Look at the peer's packet counters: if they grow, the fault is behind it.";
    Install "E1017" "the tunnel could not be installed"
        "IKE agreed on something that the data plane of this gateway refuses. That is a defect of this program: please report it, with the message and the algorithms in it.";
    Redirected "E1018" "the peer sent us to another gateway"
        "The gateway that we called, or were connected to, answered with a redirect (RFC 5685): it is full, or its operator takes it out of service. We go where it says, with the same identities and the same key, and come back to the configured address if the other gateway does not answer. After five redirects in five minutes we wait, for then two gateways send us to and fro. `follow_redirects = false` keeps us from going.";
    AuthExpired "E1019" "the peer did not authenticate anew"
        "`auth_lifetime` says how long an authentication is good for, and the peer was told so (AUTH_LIFETIME, RFC 4478). It should have begun a new SA before that and did not, so its SAs were deleted. Not every peer can do that; one that cannot has to be given a longer time, or none.";
    Monitor "E1020" "a host behind the peer does not answer"
        "A `[[connection.NAME.monitor]]` asked its target through the tunnel, and too often there was no answer in time. Every answer takes one from the count, so that a host that is well again is seen to be so after as many answers. The SAs stand: the host may be down, or the way to it behind the peer is. Where another connection has the same networks with a higher metric, it carries the packets meanwhile. `s2s-gw status NAME` names the target; from this host `ping -I SOURCE TARGET` asks the same.";
    BlackHole "E1022" "long packets are lost on the way"
        "Short packets come back through the tunnel and long ones do not, and no router says why (RFC 2923 calls that a black hole). Some link between the gateways takes less than the usual 1500 octets: PPPoE, another tunnel, a mobile network. The router before it should answer with ICMP \"fragmentation needed\", which the gateway would heed; a firewall drops that. So pings work, connections begin, and then they hang. `s2s-gw doctor` finds the longest packet that passes: write that into `mtu` of the connection, on both gateways, since each decides for what it sends. Better still, let ICMP type 3 code 4 and ICMPv6 type 2 pass.";
    PeerExpired "E1030" "a certificate of the peer has expired"
        "The peer showed a certificate, or one above it in its chain, that is past its end, so nothing that it signs is believed. SAs that are up stay up. The peer needs a new certificate; a rotation is due on its side. If the certificate should still be valid, one of the two clocks is wrong: the message says until when it was.";
    PeerNotYetValid "E1031" "a certificate of the peer is not valid yet"
        "The peer showed a certificate that begins later than now. One of the two clocks is wrong, mostly that of a machine that was just switched on; `date -u` on both shows it. The moment is looked at again at each attempt, so the tunnel comes up by itself when the clock is set.";
    UnknownIssuer "E1032" "nobody whom we trust issued the peer's certificate"
        "The certificate of the peer was not issued by an authority in `ca` of the connection, nor by one between that the peer sent along. Either it is the wrong certificate, or the authority was replaced, or the peer does not send the certificates between its own and the authority. The message names the issuer and whom we trust.";
    NotItsIdentity "E1033" "the peer's certificate is not for the identity that it claims"
        "A certificate names whom it is for, in its alternative names and its subject, and the peer claims to be somebody else (RFC 4945 §3.1). Its `local_id`, or whatever that is called there, has to be in its certificate. A name in the common name alone does not count. The message lists those that are there.";
    PeerRevoked "E1034" "the peer's certificate was revoked"
        "A list in `crl` says that the certificate of the peer, or of an authority between, was taken back by its issuer. Perhaps its key got lost; do not let it in before that is known. A peer that is to be let in again needs a new certificate.";
    RevocationUnknown "E1035" "nobody knows whether the peer's certificate was revoked"
        "`crl_policy = \"require\"` wants a list of each authority between the peer and `ca` that is not out of date, and one of them is missing or should have been replaced by now. Put the newest lists into the files of `crl` and `s2s-gw reload`.";
    OtherMethod "E1036" "the peer proves its identity in another way than it should"
        "The connection says how the peer has to prove who it is: by a pre-shared key, a certificate, or a certain key. The peer did it in another way, or sent no certificate at all. Make both sides say the same; each side may have a way of its own, but the other one has to know it.";
    PeerUnusable "E1037" "the peer's certificate cannot be used"
        "The peer showed a certificate that breaks a rule: it cannot be read, is not for signing or not for IKE, its key is too weak or of an unknown kind, or its chain has an authority that may not be one. The message says which. Only whoever makes certificates for the peer can mend that.";
    WrongSignature "E1038" "the peer's signature is wrong"
        "The certificate or public key of the peer is the right one, but what it signed was not signed with that key. Mostly the peer has a new key and an old certificate, or `peer_key` here is an old one. The message has the fingerprint of the key that was tried; `s2s-gw pki show FILE` prints that of a file.";
    CannotSign "E1039" "the peer cannot check our signature"
        "Both sides tell which hashes they know for signatures (RFC 7427), and none that fits our private key is among those of the peer. Give this gateway a key of a kind that the peer knows; ECDSA P-256 is known nearly everywhere.";
}

impl Code {
    /// What to do about a warning, one sentence without full stop; for others see their reasons.
    #[must_use]
    pub fn fix(self) -> &'static str {
        let all = [
            (
                Self::NotForwarding,
                "sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1, and the same in /etc/sysctl.d",
            ),
            (
                Self::Foreign,
                "`ip xfrm policy` shows them; stop that program, or `ip xfrm policy flush`",
            ),
            (
                Self::RouteRefused,
                "see `ip route show`; delete the route that is in the way or set another `metric`",
            ),
            (Self::DeviceLost, "see `ip link show`; free the name, or restart the gateway"),
            (Self::CannotSend, "see `nft list ruleset` and `ip route get ADDRESS`"),
            (
                Self::InboundOpen,
                "load nf_tables with its fib expression, or sysctl -w net.ipv4.conf.all.rp_filter=1",
            ),
            (Self::MtuTooLarge, "leave `mtu` out, or write what the log line `mtu-too-large` says"),
            (
                Self::OldCredentials,
                "make the same change on the peer; then s2s-gw restart the connection",
            ),
            (Self::FileNewer, "s2s-gw reload --dry-run shows what would change; s2s-gw reload"),
            (Self::ReloadFailed, "s2s-gw check says what is wrong in the file"),
            (
                Self::NoState,
                "see that `state` of [gateway] is a directory that this user may write, with room in it",
            ),
            (
                Self::OnStandby,
                "see why the endpoint before it does not answer; s2s-gw failover goes back by hand",
            ),
        ];
        let known = all.into_iter().find(|(code, _)| *code == self);
        known.map_or(LOOK_IT_UP, |(_, fix)| fix)
    }
}

/// For reasons, which bring a fix of their own.
const LOOK_IT_UP: &str = "see docs/errors.md";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_warning_says_what_to_do() {
        for code in Code::ALL.iter().filter(|code| code.id().starts_with('W')) {
            assert!(code.fix() != LOOK_IT_UP && !code.fix().ends_with('.'), "{}", code.id());
        }
    }
}
