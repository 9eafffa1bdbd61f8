//! Reloads the settings of a running server on a hang-up (SIGHUP). Settings that can change take effect; the rest is
//! listed as needing a restart. Invalid settings change nothing.

use std::thread;

use naksi::prelude::ServiceHandle;

use crate::config::table::{Row, rows};
use crate::config::{Flags, Settings};
use crate::outcome::Problem;
use crate::stderr::tell;
use crate::{log, platform, stderr};

/// Reloads at every hang-up, on a thread that lives as long as the process.
pub(crate) fn on_hangup(flags: Flags, settings: Settings, remote: ServiceHandle) -> Result<(), Problem> {
    let mut now = rows(&settings);
    let listen = move || {
        while platform::wait_for_hangup() {
            match flags.settings().and_then(|settings| apply(&settings, &remote).map(|()| rows(&settings))) {
                Ok(next) => {
                    tell!("naksi: reloaded: {}", difference(&now, &next));
                    // What needs a restart has not changed in this server.
                    now = now
                        .into_iter()
                        .zip(next)
                        .map(|(old, new)| if new.is_reloaded() { new } else { old })
                        .collect();
                }
                Err(problem) => {
                    stderr::problem("naksi: not reloaded, everything stays as it was", &problem);
                }
            }
        }
    };
    let spawned = thread::Builder::new().name("naksi-reload".to_owned()).spawn(listen);
    spawned.map(drop).map_err(|error| Problem::failed(format!("no thread for reloading: {error}")))
}

fn apply(settings: &Settings, remote: &ServiceHandle) -> Result<(), Problem> {
    log::set_format(settings.log_format);
    log::set_filter(settings.log_filter.as_deref().unwrap_or_default())
        .map_err(|error| Problem::usage(format!("log.filter: {error}")))?;
    remote.admit_by(&settings.limits);
    Ok(())
}

/// What a reload changed, and what only a restart changes.
fn difference(old: &[Row], new: &[Row]) -> String {
    let changed = |reloaded: bool| {
        let pairs =
            old.iter().zip(new).filter(|(old, new)| old.value != new.value && new.is_reloaded() == reloaded);
        let said = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
        let all: Vec<String> = pairs
            .map(|(old, new)| format!("{} {} -> {}", new.name(), said(&old.value), said(&new.value)))
            .collect();
        all.join(", ")
    };
    match (changed(true), changed(false)) {
        (now, later) if now.is_empty() && later.is_empty() => "nothing has changed".to_owned(),
        (now, later) if later.is_empty() => now,
        (now, later) if now.is_empty() => format!("nothing; needs a restart: {later}"),
        (now, later) => format!("{now}; needs a restart: {later}"),
    }
}
