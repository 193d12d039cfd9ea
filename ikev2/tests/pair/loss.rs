//! Bad links: whatever is lost, late, doubled or out of order, exactly one of everything stands in the end.

use testkit::link::Link;
use testkit::world::{World, child_of, for_each_seed, psk_pair};

use crate::{MINUTE, assert_healthy, assert_no_interruption};

fn bad_link() -> Link {
    Link::default().delay_ms(5..120).loss(200).reorder(100).duplicate(100)
}

#[test]
fn a_fifth_lost_and_it_comes_up_all_the_same() {
    for_each_seed(200, |seed| {
        let mut world = World::new(seed).link(bad_link()).peers(psk_pair());
        world.run_until(World::both_up, 2 * MINUTE);
        world.run_until_quiet(10 * MINUTE);
        assert_healthy(&world, 1);
    });
}

#[test]
fn several_children_on_a_bad_link() {
    for_each_seed(30, |seed| {
        let [mut left, mut right] = psk_pair();
        for number in 3..6 {
            left.children.push(child_of("more", 1, number, "aes256gcm16-noesn"));
            right.children.push(child_of("more", number, 1, "aes256gcm16-noesn"));
        }
        let mut world = World::new(seed).link(bad_link()).peers([left, right]);
        world.run_until(World::both_up, 5 * MINUTE);
        world.run_until_quiet(10 * MINUTE);
        assert_healthy(&world, 4);
    });
}

#[test]
fn a_day_of_rekeying_on_a_poor_link_loses_nothing() {
    for_each_seed(4, |seed| {
        let link = Link::default().delay_ms(5..120).loss(50).reorder(20).duplicate(20);
        let mut world = World::new(seed).link(link).peers(psk_pair());
        world.run_until(World::both_up, 2 * MINUTE);
        for _hour in 0..24 {
            world.run_for(60 * MINUTE);
        }
        world.run_until(World::both_up, MINUTE);
        world.set_link(Link::default());
        world.run_until_quiet(10 * MINUTE);
        assert_healthy(&world, 1);
        assert_no_interruption(&world);
        let rekeyed = |event: &ikev2::Event| matches!(event, ikev2::Event::PeerRekeyed { .. });
        assert!(world.left().count(rekeyed) >= 3, "8 h each");
    });
}
