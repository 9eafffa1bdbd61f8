//! A program that was built without the admin server says so where one is asked for.

use naksi::prelude::ServiceHandle;

use crate::config::AdminSettings;
use crate::outcome::Problem;

/// There is none.
#[derive(Clone, Copy)]
pub(crate) enum NoAdmin {}

pub(crate) fn listen(settings: &AdminSettings) -> Result<Option<NoAdmin>, Problem> {
    check(settings).map(|()| None)
}

pub(crate) fn check(settings: &AdminSettings) -> Result<(), Problem> {
    match settings.address {
        Some(_) => {
            Err(Problem::usage("this program was built without the admin server: --features admin has it"))
        }
        None => Ok(()),
    }
}

pub(crate) fn serve(admin: Option<NoAdmin>, _: ServiceHandle) -> Result<Option<NoAdmin>, Problem> {
    Ok(admin)
}

pub(crate) fn line(_: Option<&NoAdmin>) -> String {
    String::new()
}
