//! What shells and readers of manuals want of the program.

use crate::arguments::Cli;
use crate::failure::Failure;
use crate::output;
use clap::CommandFactory;
use clap_complete::Shell;
use concord_runs::{RunError, write_bytes};
use std::path::Path;

/// Completions for a shell.
pub fn completions(shell: Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "concord", &mut text);
    output::raw(&String::from_utf8_lossy(&text))
}

/// Manual pages, one a command.
pub fn manual(folder: &Path) -> Result<(), Failure> {
    let failed = |source| RunError::File {
        path: folder.to_owned(),
        source,
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut all = Cli::command();
    all.build();
    let mut count = 0;
    let mut left = vec![("concord".to_owned(), all)];
    while let Some((name, command)) = left.pop() {
        for sub in command
            .get_subcommands()
            .filter(|sub| sub.get_name() != "help")
        {
            left.push((format!("{name}-{}", sub.get_name()), sub.clone()));
        }
        let mut page = Vec::new();
        let command = command.name(name.clone()).display_name(name.clone());
        clap_mangen::Man::new(command)
            .render(&mut page)
            .map_err(failed)?;
        write_bytes(&folder.join(format!("{name}.1")), &page)?;
        count += 1;
    }
    output::data(&format!("{count} pages in {}\n", folder.display()))
}
