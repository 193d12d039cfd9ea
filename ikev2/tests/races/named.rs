//! Races that have gone wrong elsewhere, drawn. Each is a path of the search (`every_order`), which says what must hold;
//! here they are to be read, and are run with each message of theirs lost as well.
//!
//! ```text
//!   L, R   a side begins      a3  #3 arrives      x3  #3 is lost      t  the next timer fires
//! ```

use testkit::explore::{Move, Op, Race, Run, follow};

/// The path as it is, and with each of the datagrams up to `last` lost in turn, under seeds where either side wins.
fn all_ways(left: Op, right: Op, moves: &str, last: u64) {
    for seed in 1..=4 {
        let race = Race::new(left, right, seed);
        let _run = follow(&race, moves);
        for lost in 1..=last {
            let _run = follow_without(&race, lost);
        }
    }
}

/// Both begin; whatever is sent arrives in order, but for this datagram.
fn follow_without(race: &Race, lost: u64) -> usize {
    let mut run = Run::start(race);
    let mut moves = String::new();
    while let Some(mut next) = run.moves().first().copied() {
        let begins = run.moves().into_iter().find(|step| matches!(step, Move::Begin(_)));
        next = begins.unwrap_or(next);
        if next == Move::Arrive(lost) {
            next = Move::Lose(lost);
        }
        moves.push_str(&next.to_string());
        moves.push(' ');
        run.take(next);
    }
    follow(race, &moves).taken().len()
}

/// ```text
///   left                          right
///    rekey child ── #1 ──►  ◄── #2 ── rekey child
///                ◄── #3 ──  ── #4 ──►             both are answered; one of the four, or of the DELETEs, is lost
/// ```
/// strongSwan #1896: after the loss one side did not install its outbound SA, and nothing went through any more.
#[test]
fn both_rekey_the_child_and_one_message_is_lost() {
    all_ways(Op::RekeyChild, Op::RekeyChild, "L R a1 a2 a3 a4", 8);
    all_ways(Op::RekeyChild, Op::RekeyChild, "L R a2 a1 a4 a3", 8);
}

/// ```text
///   left                          right
///    rekey child ── #1 ──►
///                      #2 ──┐                    the answer is overtaken
///                ◄── #3 ────│── rekey child      .. by a rekey of the child that it makes
///    not now     ── #4 ──►  │
///                ◄──────────┘
/// ```
/// "There is no such child" would have the right side drop a child that the left side is about to send on.
#[test]
fn a_child_is_rekeyed_by_its_responder_before_its_initiator_has_it() {
    for seed in 1..=4 {
        let race = Race::new(Op::RekeyChild, Op::RekeyChild, seed);
        for moves in ["L a1 R a3 a2 a4", "L a1 R a3 a4 a2", "L a1 x2 R a3 a4", "L a1 R a3 x4 a2"] {
            let _run = follow(&race, moves);
        }
        let race = Race::new(Op::NewChild, Op::RekeyChild, seed);
        let _run = follow(&race, "a1 R a3 a2 a4");
    }
}

/// ```text
///   left                          right
///    rekey child ── #1 ──►
///                ◄── #2 ──
///    delete old  ── #3 ──┐
///                ◄── #4 ─│─ rekey child           of the new one: the delete of the old one is still on its way
///                        └►
/// ```
#[test]
fn a_delete_crosses_the_next_rekey() {
    for seed in 1..=4 {
        let race = Race::new(Op::RekeyChild, Op::RekeyChild, seed);
        for moves in ["L a1 a2 R a4 a3", "L a1 a2 R a3 a4", "L a1 a2 R a4 x3", "L a1 a2 R x4 a3"] {
            let _run = follow(&race, moves);
        }
        // A child that comes to its end is deleted while the other side wants to rekey it, or the IKE SA.
        for (left, right) in [
            (Op::EndChild, Op::RekeyChild),
            (Op::RekeyChild, Op::EndChild),
            (Op::EndChild, Op::RekeyIke),
            (Op::RekeyIke, Op::EndChild),
            (Op::EndChild, Op::EndChild),
        ] {
            let _run = follow(&Race::new(left, right, seed), "");
        }
        all_ways(Op::EndChild, Op::RekeyIke, "L R a1 a2", 6);
    }
}

/// ```text
///   left                          right
///    rekey IKE   ── #1 ──►  ◄── #2 ── rekey IKE
///                ◄── #3 ──  ── #4 ──►             two new SAs; the one with the lowest nonce goes
///    delete      ── #5 ──►  ◄── #6 ── delete      of the old one, of the one that lost
/// ```
#[test]
fn both_rekey_the_ike_sa_and_one_message_is_lost() {
    all_ways(Op::RekeyIke, Op::RekeyIke, "L R a1 a2 a3 a4", 8);
    // The DELETE of the old SA overtakes the answer that made the new one.
    for seed in 1..=4 {
        let race = Race::new(Op::RekeyIke, Op::RekeyIke, seed);
        for moves in ["L R a1 a2 a3 a5 a4", "L R a2 a1 a4 a3", "L R a1 a2 a4 a5 a3", "L R x1 a2 a3"]
        {
            let run = follow(&race, moves);
            assert_eq!(run.world().left().up.len(), 1);
        }
    }
}

/// ```text
///   left                          right
///    new child   ── #1 ──►  ◄── #2 ── rekey IKE   each finds the other busy: TEMPORARY_FAILURE to both (§2.25.2)
///                ◄── #3 ──  ── #4 ──►
///                   .. two seconds later, at random, one of them begins again
/// ```
#[test]
fn a_new_child_crosses_an_ike_rekey() {
    all_ways(Op::NewChild, Op::RekeyIke, "R a1 a2 a3 a4", 8);
    all_ways(Op::RekeyChild, Op::RekeyIke, "L R a1 a2 a3 a4", 8);
    all_ways(Op::RekeyIke, Op::RekeyChild, "L R a2 a1 a4 a3", 8);
}

/// ```text
///   left                          right
///    rekey IKE   ── #1 ──►  ◄── #2 ── delete IKE  the old SA goes, and with it the one that is being made
/// ```
#[test]
fn the_end_crosses_a_rekey() {
    for (left, right) in [(Op::RekeyIke, Op::Disconnect), (Op::Disconnect, Op::RekeyIke)] {
        all_ways(left, right, "L R a1 a2", 6);
        all_ways(left, right, "L R a2 a1", 6);
    }
    for (left, right) in [(Op::RekeyChild, Op::Disconnect), (Op::Disconnect, Op::RekeyChild)] {
        all_ways(left, right, "L R a1 a2", 6);
    }
    all_ways(Op::Disconnect, Op::Disconnect, "L R a1 a2", 4);
}

/// ```text
///   left                          right
///    alive?      ── #1 ──┐
///                ◄── #2 ─│─ rekey IKE
///    ── #3 ──► new SA .. └► of the old one: it must still be answered, or the left side repeats for ever
/// ```
#[test]
fn a_question_on_the_old_ike_sa_is_answered() {
    all_ways(Op::Liveness, Op::RekeyIke, "L R a2 a3 a1", 6);
    all_ways(Op::RekeyIke, Op::Liveness, "L R a2 a1 a3", 6);
    all_ways(Op::Liveness, Op::RekeyChild, "L R a2 a1", 6);
}

/// ```text
///   left                          right
///    rekey IKE   ── #1 ──┐
///                ── #2 ──│►  (#1 again, after half a second)
///                ◄── #3 ─│─
///    delete old  ── #4 ──│►
///                        └►  the first one at last, for an SA that is gone
/// ```
#[test]
fn a_request_arrives_after_its_repetition_and_everything_else() {
    for op in [Op::RekeyIke, Op::RekeyChild, Op::Liveness, Op::Disconnect] {
        for seed in 1..=2 {
            let race = Race::new(op, Op::Nothing, seed);
            for moves in ["L t a2 a3 a1", "L t a1 a2", "L a1 t a2", "L t a2 t a3 a1", "L c1 a1"] {
                let _run = follow(&race, moves);
            }
        }
    }
}

/// The peer's rekey is answered and the answer lost; then whoever answered gets another address. The peer knows none but
/// the old IKE SA, so it has to hear of the move on that one, or it asks where nobody is any more.
///
/// ```text
///   right ── rekey IKE ──► left        left ── answer ──x
///   left moves:  UPDATE_SA_ADDRESSES on the old SA ──► right ── rekey IKE, again ──► left's new address ── answer ──► right
/// ```
#[test]
fn a_move_finds_a_peer_that_waits_for_the_answer_to_its_rekey() {
    all_ways(Op::Move, Op::RekeyIke, "R a1 L x2", 4);
    all_ways(Op::RekeyIke, Op::Move, "L a1 R x2", 4);
    all_ways(Op::Move, Op::Disconnect, "L R a1 a2 a3", 4);
}
