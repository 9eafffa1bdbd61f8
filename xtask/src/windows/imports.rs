//! What a Windows program imports. A console process that has loaded user32 or gdi32 is told of no log-off and no shutdown
//! (SetConsoleCtrlHandler, Remarks), so no program of ours imports them, or a library that brings them along.

use anyhow::{Result, ensure};
use std::path::Path;
use std::process::Command;

/// What must not be imported.
const DENIED: &[&str] =
    &["user32.dll", "gdi32.dll", "winmm.dll", "shell32.dll", "comctl32.dll", "comdlg32.dll"];

/// Fails if a program imports one of them.
pub(super) fn check(program: &Path) -> Result<()> {
    let output = Command::new("x86_64-w64-mingw32-objdump").arg("-p").arg(program).output()?;
    ensure!(output.status.success(), "objdump cannot read {}", program.display());
    let libraries = libraries(&String::from_utf8_lossy(&output.stdout));
    ensure!(!libraries.is_empty(), "objdump names no import of {}", program.display());
    let denied: Vec<_> = libraries.iter().filter(|name| DENIED.contains(&name.as_str())).collect();
    ensure!(
        denied.is_empty(),
        "{} imports {denied:?}: it would be told of no log-off and no shutdown",
        program.display()
    );
    Ok(())
}

/// The names in an import table as objdump prints it, in lower case.
fn libraries(printed: &str) -> Vec<String> {
    printed.lines().filter_map(|line| line.trim().strip_prefix("DLL Name: ")).map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_an_import_table_are_read() {
        let printed =
            "\tDLL Name: KERNEL32.dll\n\tvma:  Hint\n\n\tDLL Name: WS2_32.dll\n\tDLL Name: USER32.dll\n";
        assert_eq!(libraries(printed), ["kernel32.dll", "ws2_32.dll", "user32.dll"]);
    }
}
