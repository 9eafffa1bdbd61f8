//! Tests of a SQLite database's file: it must be a database, errors name it, and it must stay the file that was
//! opened.

use std::fs;
use std::path::Path;

use naksi_db::{Database, Error, Migration, OpenError, Settings};

use crate::support::{Folder, Player, SCHEMA, answer, settings, write};

const BLOBS: &[Migration] = &[Migration { version: 1, statements: "CREATE TABLE blobs (x BLOB)" }];

fn refusal(address: &str) -> String {
    match Database::open(address, SCHEMA, Settings::default()) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{address} was opened"),
    }
}

fn save(database: &Database, name: u32) -> naksi_db::Result<()> {
    answer(database.save(name, move |conn| write(conn, name, &Player { version: 1, items: Vec::new() })))
}

#[test]
fn a_database_in_memory_is_refused_however_it_is_spelt() {
    let folder = Folder::new();
    let in_folder = folder.path().join("shared");
    for address in [
        "sqlite:",
        "sqlite: ",
        "sqlite::memory:",
        "sqlite::MEMORY:",
        "sqlite:file:",
        "sqlite:file:?cache=shared",
        "sqlite:file::memory:",
        "sqlite:file::memory:?cache=shared",
        "sqlite:file:%3Amemory%3A",
        "sqlite:file:%3a%6d%65mory:",
        "sqlite:file:game.db?mode=memory",
        "sqlite:file:game.db?cache=shared&mode=memory",
        "sqlite:file:game.db?mode=%6demory",
        "sqlite:file:/game.db?vfs=memdb",
        "sqlite:FILE::memory:",
        &format!("sqlite:file:{}?mode=memory", in_folder.display()),
        &format!("sqlite:file:{}?vfs=memdb", in_folder.display()),
    ] {
        let refused = refusal(address);
        assert!(refused.starts_with("cannot open sqlite:"), "{address}: {refused}");
        assert!(!refused.contains("is down"), "{address}: {refused}");
    }
    assert!(!in_folder.exists());
}

#[test]
fn a_uri_that_names_a_file_is_opened() {
    let folder = Folder::new();
    let path = folder.path().join("game.db");
    let address = format!("sqlite:file:{}?psow=1", path.display());
    let database = Database::open(&address, SCHEMA, settings()).expect("a file");
    assert_eq!(save(&database, 1), Ok(()));
    assert!(path.exists());
}

#[test]
fn a_path_that_cannot_be_opened_is_named_with_the_reason() {
    let folder = Folder::new();
    let nowhere = folder.path().join("nowhere");
    let refused = refusal(&format!("sqlite:{}", nowhere.join("game.db").display()));
    assert!(refused.contains("nowhere") && refused.contains("os error"), "{refused}");
    assert!(!refused.contains("is down"), "{refused}");
    let refused = refusal(&format!("sqlite:{}", folder.path().display()));
    assert!(refused.contains("it is a folder"), "{refused}");
    assert!(matches!(
        Database::open("sqlite:/", SCHEMA, Settings::default()),
        Err(OpenError::Address { .. })
    ));
}

#[test]
fn a_file_that_is_no_database_is_named() {
    let folder = Folder::new();
    let path = folder.path().join("test.db");
    fs::write(&path, "a letter to a friend, and by no means a database\n".repeat(100)).expect("a file");
    let refused = refusal(&folder.address());
    assert!(refused.contains("test.db") && refused.contains("not a database"), "{refused}");
}

#[test]
fn a_page_that_is_spoilt_is_told_with_the_name_of_its_file() {
    let folder = Folder::new();
    let path = folder.path().join("test.db");
    let sound = rusqlite::Connection::open(&path).expect("a database");
    sound
        .execute_batch("CREATE TABLE players (x); INSERT INTO players VALUES (randomblob(20000))")
        .expect("rows");
    sound.close().expect("it is closed");
    let mut bytes = fs::read(&path).expect("the database");
    // All but the first page, which has the schema.
    bytes[4096..].fill(0xA5);
    fs::write(&path, bytes).expect("the database");
    let broken = Database::open(&folder.address(), &[], settings())
        .map(|database| answer(database.load(1, |conn| conn.query("SELECT * FROM players", &[]))).map(drop));
    let text = match broken {
        Err(error) => error.to_string(),
        Ok(Err(error)) => error.to_string(),
        Ok(Ok(())) => panic!("a spoilt page was read"),
    };
    assert!(text.contains("test.db") && text.contains("malformed"), "{text}");
}

#[cfg(unix)] // Windows neither deletes nor renames a file that is open.
mod taken_away {
    use super::*;

    fn database(folder: &Folder) -> Database {
        let database = folder.database(Settings { attempts_max: 1, ..settings() });
        assert_eq!(save(&database, 1), Ok(()));
        database
    }

    fn refused_as(database: &Database, word: &str) {
        let refused = save(database, 2);
        assert!(
            matches!(&refused, Err(Error::Down(text)) if text.contains("test.db") && text.contains(word)),
            "{refused:?}"
        );
    }

    #[test]
    fn a_save_to_a_file_that_was_deleted_is_no_success() {
        for end in ["", "-wal"] {
            let folder = Folder::new();
            let database = database(&folder);
            fs::remove_file(folder.path().join(format!("test.db{end}"))).expect("it was there");
            refused_as(&database, "deleted");
            assert!(end == "-wal" || !folder.path().join("test.db").exists(), "no new one is made");
        }
    }

    #[test]
    fn a_save_to_a_file_that_was_deleted_meanwhile_is_no_success() {
        let folder = Folder::new();
        let database = database(&folder);
        let path = folder.path().join("test.db");
        let half = answer(database.save(2, move |conn| {
            let _absent = fs::remove_file(&path);
            write(conn, 2, &Player::default())
        }));
        assert!(matches!(&half, Err(Error::Down(text)) if text.contains("deleted")), "{half:?}");
    }

    #[test]
    fn another_file_in_its_place_is_left_alone_and_the_old_one_is_taken_up_again() {
        let folder = Folder::new();
        let database = database(&folder);
        let move_all = |from: &Path, to: &Path| {
            for end in ["", "-wal", "-shm"] {
                let name = format!("test.db{end}");
                fs::rename(from.join(&name), to.join(&name)).expect("it is there");
            }
        };
        let aside = folder.path().join("aside");
        fs::create_dir(&aside).expect("a folder");
        move_all(folder.path(), &aside);
        fs::write(folder.path().join("test.db"), "another program's").expect("a file");
        refused_as(&database, "replaced");
        let other = fs::read_to_string(folder.path().join("test.db"));
        assert_eq!(other.expect("it is there"), "another program's");
        move_all(&aside, folder.path());
        crate::support::until("it is taken up again", || save(&database, 3) == Ok(()));
        assert_eq!(save(&database, 4), Ok(()));
    }
}

#[test]
fn the_log_of_a_large_step_is_given_back() {
    const LARGE: &[Migration] = &[Migration {
        version: 1,
        statements: "CREATE TABLE blobs (x BLOB); INSERT INTO blobs VALUES (zeroblob(30000000))",
    }];
    let folder = Folder::new();
    let _database = Database::open(&folder.address(), LARGE, settings()).expect("a database");
    let log = fs::metadata(folder.path().join("test.db-wal")).expect("a log").len();
    assert!(log <= 8 << 20, "{log} bytes");
}

#[test]
fn the_log_of_a_large_save_is_given_back() {
    let folder = Folder::new();
    let database = Database::open(&folder.address(), BLOBS, settings()).expect("a database");
    let large = answer(
        database
            .save(1, |conn| conn.execute("INSERT INTO blobs VALUES (zeroblob(30000000))", &[]).map(|_| ())),
    );
    assert_eq!(large, Ok(()));
    let log = fs::metadata(folder.path().join("test.db-wal")).expect("a log").len();
    assert!(log <= 8 << 20, "{log} bytes");
}
