//! Fuzzes the reader of this name.
#![no_main]

#[path = "../../xtask/src/folders.rs"]
#[allow(dead_code)]
mod folders;

use folders::Folders;
use std::path::Path;

thread_local! {
    static FOLDERS: Folders = Folders::new(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .expect("the golden folders are in the repository");
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = FOLDERS.with(|folders| folders.questions(bytes));
});
