//! Tests of the order of one key's jobs over all threads, of concurrency between keys, and of the queue's bound.

use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use naksi_core::prng::Prng;
use naksi_db::{Error, Settings, SubmitError, WhenFull};

use crate::support::{Folder, Player, answer, asked, read, settings, until, wait, write};

#[test]
fn writes_of_one_key_keep_their_order_over_all_threads() {
    let folder = Folder::new();
    let database = folder.database(settings());
    let order: Arc<Mutex<BTreeMap<u32, Vec<i64>>>> = Arc::default();
    let mut chance = Prng::new(5);
    for version in 0..3_000_i64 {
        let name = chance.below(10) as u32;
        let (job_order, answer_order) = (Arc::clone(&order), Arc::clone(&order));
        let player = Player { version, items: Vec::new() };
        let job = database.save(name, move |conn| {
            job_order.lock().expect("no panic").entry(name).or_default().push(version);
            write(conn, name, &player)
        });
        job.then(move |written| {
            written.expect("written");
            answer_order.lock().expect("no panic").entry(1_000 + name).or_default().push(version);
        })
        .expect("the queue has room");
    }
    until("all are answered", || {
        let order = order.lock().expect("no panic");
        order.range(1_000..).map(|(_, answers)| answers.len()).sum::<usize>() == 3_000
    });
    for (who, versions) in order.lock().expect("no panic").iter() {
        assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "{who}: {versions:?}");
    }
    for name in 0..10 {
        let last = order.lock().expect("no panic")[&name].last().copied();
        let player = answer(database.load(name, move |conn| read(conn, name))).expect("a player");
        assert_eq!(Some(player.version), last);
    }
}

#[test]
fn a_key_that_waits_holds_no_other_up() {
    let folder = Folder::new();
    let database = folder.database(settings());
    let (release, released) = channel::<()>();
    let slow = asked(database.load(1, move |_| {
        released.recv().expect("released");
        Ok(())
    }))
    .expect("taken");
    let behind = asked(database.load(1, |_| Ok(()))).expect("taken");
    for name in 2..50 {
        assert_eq!(answer(database.load(name, |_| Ok(()))), Ok(()));
    }
    assert!(behind.try_recv().is_err() && slow.try_recv().is_err());
    release.send(()).expect("it waits");
    assert_eq!((wait(&slow), wait(&behind)), (Ok(()), Ok(())));
}

#[test]
fn a_trade_is_ordered_after_the_jobs_of_both_players() {
    let folder = Folder::new();
    let database = folder.database(settings());
    for name in [1, 2] {
        let player = Player { version: 0, items: vec![name] };
        database.save(name, move |conn| write(conn, name, &player)).forget().expect("taken");
    }
    let trades: Vec<_> = (1..=500)
        .map(|_| {
            let trade = database.save_all([1, 2], |conn| {
                let (mut one, mut other) = (read(conn, 1)?, read(conn, 2)?);
                std::mem::swap(&mut one.items, &mut other.items);
                (one.version, other.version) = (one.version + 1, other.version + 1);
                write(conn, 1, &one)?;
                write(conn, 2, &other)
            });
            trade.forget().expect("taken");
            [1, 2].map(|name| asked(database.load(name, move |conn| read(conn, name))).expect("taken"))
        })
        .collect();
    for (index, loads) in trades.iter().enumerate() {
        let [one, other] = [&loads[0], &loads[1]].map(|load| wait(load).expect("a player"));
        // Both queues run after the trade: each sees it, and nothing of the next one.
        assert_eq!((one.version, other.version), (index as i64 + 1, index as i64 + 1));
        assert_eq!(one.items.len() + other.items.len(), 2);
        assert_ne!(one.items, other.items);
    }
}

#[test]
fn a_full_queue_refuses_loads_and_a_save_takes_the_place_of_the_oldest_load() {
    let folder = Folder::new();
    let database = folder.database(Settings { threads: Some(1), queue_max: 10, ..settings() });
    let (release, released) = channel::<()>();
    let first = asked(database.save(0, move |_| {
        released.recv().expect("released");
        Ok(())
    }))
    .expect("taken");
    until("the thread is busy", || database.stats().running == 1);
    let loads: Vec<_> = (1..=10).map(|name| asked(database.load(name, |_| Ok(()))).expect("room")).collect();
    assert_eq!(database.load(11, |_| Ok(())).forget(), Err(SubmitError::Full));
    let save = asked(database.save(12, |_| Ok(()))).expect("it takes a load's place");
    release.send(()).expect("it waits");
    assert_eq!((wait(&first), wait(&save)), (Ok(()), Ok(())));
    assert_eq!(wait(&loads[0]), Err(Error::Shed), "the oldest");
    assert!(loads[1..].iter().all(|load| wait(load) == Ok(())));
    let stats = database.stats();
    assert_eq!((stats.counts.shed_total, stats.counts.refused_total), (1, 1));
}

#[test]
fn a_queue_that_refuses_sheds_nothing() {
    let folder = Folder::new();
    let refuses = Settings { threads: Some(1), queue_max: 1, when_full: WhenFull::Refuse, ..settings() };
    let database = folder.database(refuses);
    let (release, released) = channel::<()>();
    let first = asked(database.load(0, move |_| {
        released.recv().expect("released");
        Ok(())
    }))
    .expect("taken");
    until("the thread is busy", || database.stats().running == 1);
    let load = asked(database.load(1, |_| Ok(()))).expect("room for one");
    assert_eq!(database.save(2, |_| Ok(())).forget(), Err(SubmitError::Full));
    release.send(()).expect("it waits");
    assert_eq!((wait(&first), wait(&load)), (Ok(()), Ok(())));
}

#[test]
fn whoever_asks_goes_on_at_once_while_the_database_is_slow() {
    let folder = Folder::new();
    let database = folder.database(Settings { threads: Some(1), ..settings() });
    let (release, released) = channel::<()>();
    let slow = asked(database.load(0, move |_| {
        released.recv().expect("released");
        Ok(())
    }))
    .expect("taken");
    // The only thread is blocked: if submitting waited for it, this loop would never end.
    let answers: Vec<_> =
        (0..1_000).map(|name| asked(database.save(name, |_| Ok(()))).expect("room")).collect();
    assert!(slow.recv_timeout(Duration::ZERO).is_err());
    release.send(()).expect("it waits");
    assert!(answers.iter().all(|answer| wait(answer) == Ok(())));
    until("every turn is counted", || database.stats().group.done_total == 1_001);
}
