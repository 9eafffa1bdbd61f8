//! Wine 10 or newer: the system's own, or a folder with the next Debian in it, made once and entered for each program.
//!
//! Wine 8 wakes the waiters of a port in turn, tells of resets as orderly ends and keeps a closed port's waiters asleep; Wine 10
//! does as Windows. The folder lies in the user's cache, because it outlives a `cargo clean`. A program is started in a mount
//! namespace of its own, so that nothing of the folder's mounts is left when it ends. Nothing here knows a prefix.

use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::compiler::{home, make_executable, run};
use crate::root;

/// The oldest Wine that the lane wants.
const MAJOR: u32 = 10;
/// The Debian that has it.
const SUITE: &str = "trixie";
/// A change of how the folder is made makes a new one.
const RECIPE: u32 = 1;

/// What stands in the place of one of Wine's programs: it mounts the places that programs need into the folder and becomes the
/// program there. The process id stays the same, so a signal reaches the program.
const SHIM: &str = r#"#!/bin/sh
exec unshare --mount MAP sh -c '
set -e
folder=$1; here=$2; shift 2
for place in PLACES; do
  mkdir -p "$folder$place"
  mount --rbind "$place" "$folder$place"
done
exec chroot "$folder" sh -c "cd \"\$1\"; shift; exec \"\$@\"" sh "$here" "$@"
' enter 'FOLDER' "$PWD" /usr/bin/PROGRAM "$@"
"#;

/// Sees to a Wine that is new enough: the system's, or the folder, which is made if it is not there. Where no folder can be made,
/// the system's Wine has to do, and that is said. Returns what a prefix is named by (one that a Wine has made is not for
/// another), and Wine's major version.
pub(super) fn provide() -> Result<(String, u32)> {
    let system = system_major().unwrap_or(0);
    let system = (format!("system-{system}"), system);
    if system.1 >= MAJOR {
        return Ok(system);
    }
    let folder = cache()?.join(format!("wine-{SUITE}-{RECIPE}"));
    if !folder.is_dir()
        && let Err(error) = make(&folder)
    {
        println!("windows: no Wine {MAJOR} ({error:#}); the system's older one has to do");
        return Ok(system);
    }
    write_shims(&folder)?;
    Ok((format!("{SUITE}-{RECIPE}"), MAJOR))
}

/// The folder of programs that stand before the system's own, if the system's Wine is not used.
pub(super) fn shims() -> Option<PathBuf> {
    Some(home().join("wine-bin")).filter(|folder| folder.is_dir())
}

fn write_shims(folder: &Path) -> Result<()> {
    let bin = home().join("wine-bin");
    fs::create_dir_all(&bin)?;
    let map = if is_root() { "" } else { "--map-root-user" };
    for program in ["wine", "wineserver"] {
        let text = SHIM.replace("MAP", map).replace("PLACES", &places()?).replace("PROGRAM", program);
        let path = bin.join(program);
        fs::write(&path, text.replace("FOLDER", &folder.display().to_string()))?;
        make_executable(&path)?;
    }
    Ok(())
}

/// What is the same inside and outside, with blanks between.
fn places() -> Result<String> {
    let target = root::target();
    fs::create_dir_all(&target)?;
    let mut places = vec![PathBuf::from("/proc"), "/dev".into(), std::env::temp_dir(), root::workspace()];
    places.push(target.canonicalize()?);
    let names: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    let is_plain = |name: &String| name.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    ensure!(names.iter().all(is_plain), "a path that a shell would not take as it is: {names:?}");
    Ok(names.join(" "))
}

fn system_major() -> Option<u32> {
    let output = Command::new("wine").arg("--version").stderr(Stdio::null()).output().ok()?;
    major(&String::from_utf8_lossy(&output.stdout))
}

/// The 8 of `wine-8.0 (Debian 8.0~repack-4)`.
fn major(version: &str) -> Option<u32> {
    let number = version.lines().find_map(|line| line.strip_prefix("wine-"))?;
    number.split(['.', ' ', '-']).next()?.parse().ok()
}

fn make(folder: &Path) -> Result<()> {
    println!("windows: making a folder with Wine {MAJOR} (once, one to four minutes)");
    let work = folder.with_extension(format!("making-{}", std::process::id()));
    fs::create_dir_all(&work)?;
    let mut command = Command::new(if is_root() { "debootstrap" } else { "sudo" });
    if !is_root() {
        command.args(["-n", "debootstrap"]);
    }
    command.args(["--variant=minbase", "--include=wine,wine64", SUITE]).arg(&work);
    command.stdout(Stdio::null());
    let made = run(&mut command).context("debootstrap");
    if made.is_err() {
        fs::remove_dir_all(&work).ok(); // What is left of it only takes room.
    }
    made?;
    for waste in ["var/cache/apt", "var/lib/apt/lists", "usr/share/doc"] {
        fs::remove_dir_all(work.join(waste)).ok(); // It only takes room.
    }
    Ok(fs::rename(work, folder)?)
}

/// The user's cache of this project.
fn cache() -> Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    let cache = cache.context("neither XDG_CACHE_HOME nor HOME is set")?.join("naksi");
    fs::create_dir_all(&cache)?;
    Ok(cache)
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_of_wine_is_read() {
        assert_eq!(major("wine-8.0 (Debian 8.0~repack-4)\n"), Some(8));
        assert_eq!(major("it looks like wine32 is missing\nwine-10.0 (Debian 10.0~repack-6)\n"), Some(10));
        assert_eq!(major("wine-11-rc2"), Some(11));
        assert_eq!(major("nothing"), None);
    }
}
