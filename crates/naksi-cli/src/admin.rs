//! The admin server of `naksi serve`, as the settings say. What it serves is in the crate naksi-admin.

use naksi::prelude::ServiceHandle;
use naksi_admin::{Admin, AdminError, AdminServer, BoundAdmin};

use crate::config::AdminSettings;
use crate::outcome::Problem;

/// Takes the address, if there is one.
pub(crate) fn listen(settings: &AdminSettings) -> Result<Option<BoundAdmin>, Problem> {
    admin(settings).map(Admin::listen).transpose().map_err(problem)
}

/// Whether a server would begin with these settings; without taking the address.
pub(crate) fn check(settings: &AdminSettings) -> Result<(), Problem> {
    admin(settings).map_or(Ok(()), |admin| admin.check()).map_err(problem)
}

pub(crate) fn serve(
    admin: Option<BoundAdmin>,
    service: ServiceHandle,
) -> Result<Option<AdminServer>, Problem> {
    admin.map(|admin| admin.serve(service)).transpose().map_err(problem)
}

/// Its line on standard output.
pub(crate) fn line(admin: Option<&AdminServer>) -> String {
    admin.map(|admin| format!("naksi: admin on http://{}\n", admin.address())).unwrap_or_default()
}

fn admin(settings: &AdminSettings) -> Option<Admin> {
    let mut admin = Admin::bind(settings.address.as_ref()?);
    if let Some(file) = &settings.token_file {
        admin = admin.token_file(file);
    }
    Some(settings.hosts.iter().fold(admin, Admin::host))
}

fn problem(error: AdminError) -> Problem {
    match error {
        AdminError::Listen { .. } | AdminError::System(_) => Problem::failed(error.to_string()),
        wrong => Problem::usage(wrong.to_string()),
    }
}
