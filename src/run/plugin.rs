//! The kubectl plugin at a terminal: it asks the API server, and prints what `plugin` makes of the answers.
//!
//! What was asked for goes to standard output, whatever else a person should know to standard error.

mod complete;
mod connection;
mod drain;
mod failure;
mod follow;
mod look;
mod switch;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::CommandFactory;
use node_termination_operator::api::termination::NodeTermination;
use node_termination_operator::plugin::args::{Command, Plugin};
use node_termination_operator::plugin::output::{self, Format};
use node_termination_operator::plugin::switch::Switch;
use node_termination_operator::plugin::{End, NAME};
use tokio::runtime::{Builder, Runtime};

pub use complete::completion;
use connection::Cluster;
use failure::Error;

/// Runs one command.
pub fn plugin(plugin: Plugin) -> ExitCode {
    let end = match runtime() {
        Ok(runtime) => {
            let end = runtime.block_on(run(plugin));
            // Standard input, or a credential plugin that hangs, must not keep the process.
            runtime.shutdown_timeout(Duration::from_millis(200));
            end
        }
        Err(error) => Err(error),
    };
    let end = end.unwrap_or_else(|error| {
        if !matches!(error, Error::Unread) {
            note(&format!("error: {error}"));
        }
        error.end()
    });
    ExitCode::from(end.code())
}

fn runtime() -> Result<Runtime, Error> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Error::Said(format!("the process can not start: {error}")))
}

async fn run(plugin: Plugin) -> Result<End, Error> {
    let connect = || Cluster::connect(&plugin.connection);
    match plugin.command {
        Command::Drain(options) => drain::drain(&connect().await?, &options).await,
        Command::Cancel(options) => {
            let all = options.all;
            let (target, output) = (&options.target, options.output);
            switch::switch(&connect().await?, Switch::Cancel, target, all, output).await
        }
        Command::Hold(options) => {
            let (target, output) = (&options.target, options.output);
            switch::switch(&connect().await?, Switch::Hold, target, true, output).await
        }
        Command::Release(options) => {
            let (target, output) = (&options.target, options.output);
            switch::switch(&connect().await?, Switch::Release, target, true, output).await
        }
        Command::Why(options) => look::why(&connect().await?, &options).await,
        Command::History(options) => look::history(&connect().await?, &options).await,
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Plugin::command(), NAME, &mut script);
            print(&String::from_utf8_lossy(&script))?;
            Ok(End::Done)
        }
    }
}

/// Prints what was asked for. `head` and its like may have stopped reading.
fn print(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Error::Unread,
        _ => Error::Said(format!("standard output can not be written: {error}")),
    })
}

/// Tells what a person should know beside.
fn note(text: &str) {
    // Nobody is left to tell if that fails.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Says a sentence of what was done: to standard output, unless objects are to stand there.
fn tell(format: Option<Format>, text: &str) -> Result<(), Error> {
    if format.is_some() {
        note(text);
        return Ok(());
    }
    print(&format!("{text}\n"))
}

/// Prints objects as a list, if they were asked for.
fn print_list(format: Option<Format>, objects: &[NodeTermination]) -> Result<(), Error> {
    let Some(format) = format else {
        return Ok(());
    };
    let objects: Vec<_> = objects.iter().collect();
    print(&output::list(format, &objects).map_err(Error::Said)?)
}
