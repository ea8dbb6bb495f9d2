//! Writes the example components to a folder, for the command line and for people.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("error: say into which folder the example components go");
        return ExitCode::from(2);
    };
    match write_all(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot write to {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn write_all(folder: &std::path::Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for example in gnomon_examples::ALL.iter().chain(gnomon_examples::BATTERY) {
        let path = folder.join(format!("{}.wasm", example.name));
        std::fs::write(&path, example.component)?;
        println!(
            "{:>6} bytes  {:4}  {}",
            example.component.len(),
            example.language,
            path.display()
        );
    }
    Ok(())
}
