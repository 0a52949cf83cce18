//! phzd(8): every command and its options on one page, from the definitions behind `--help`.

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// How a command ends.
const EXIT_STATUS: &[(&str, &str)] = &[
    ("0", "All is well."),
    ("1", "The answer is no, or something failed; standard error says what, and what to do."),
    ("2", "The arguments are wrong."),
];

/// What `phzd run` does at which signal.
const SIGNALS: &[(&str, &str)] = &[
    ("SIGTERM, SIGINT", "phzd run answers what is under way, writes what is to be kept over a restart, and ends."),
    (
        "SIGHUP",
        "phzd run reads its configuration again. With a mistake in it the old one goes on serving, and the log says why.",
    ),
];

/// What phzd reads and writes.
const FILES: &[(&str, &str)] = &[
    (crate::cli::CONFIG, "The configuration, phzd.toml(5)."),
    ("/var/lib/phzd", "The state directory, as the unit for systemd has it: learned addresses and cached answers."),
    ("/run/phzd/control.sock", "The socket of phzd ctl, unless server.control says otherwise."),
];

/// What phzd reads of the environment beside options that have a variable.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("RUST_LOG", "What is logged, as warn or phzd=debug."),
    ("SSL_CERT_FILE", "A file of the certificate authorities that are trusted, in place of the system's."),
];

/// The page of `command`, whose subcommands may be any.
pub fn page(command: Command) -> String {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let variables = variables(&command);
    let man =
        man(&command).title("phzd").section("8").date(super::date()).source(super::source()).manual(super::MANUAL);
    let mut page = written(|out| man.render_title(out));
    page += &name(&command);
    page += after_heading(&written(|out| man.render_synopsis_section(out)), true);
    page += after_heading(&written(|out| man.render_description_section(out)), true);
    page += after_heading(&written(|out| man.render_options_section(out)), true);
    page += ".SH COMMANDS\n";
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        page += &section(subcommand);
    }
    let mut roff = Roff::new();
    super::terms(&mut roff, "EXIT STATUS", EXIT_STATUS.iter().copied());
    super::terms(&mut roff, "SIGNALS", SIGNALS.iter().copied());
    super::terms(&mut roff, "FILES", FILES.iter().copied());
    let variables = variables.iter().map(|(name, help)| (name.as_str(), help.as_str()));
    super::terms(&mut roff, "ENVIRONMENT", variables.chain(ENVIRONMENT.iter().copied()));
    super::see_also(&mut roff, &[("phzd.toml", "5"), ("systemctl", "1"), ("journalctl", "1")]);
    page + after_heading(&roff.render(), true)
}

/// The line that man(1) finds the page by: what `--help` says first, up to its colon.
fn name(command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let short = about.split(':').next().unwrap_or_default();
    let mut roff = Roff::new();
    roff.control("SH", ["NAME"]).text([roman(format!("phzd - {short}"))]);
    after_heading(&roff.render(), true).to_owned()
}

/// A command and those below it: how it is called, what it does, its options.
fn section(command: &Command) -> String {
    let man = man(command);
    let mut text = format!(".SS {}\n", command.get_bin_name().unwrap_or_else(|| command.get_name()));
    text += after_heading(&written(|out| man.render_synopsis_section(out)), false);
    text += ".PP\n";
    text += after_heading(&written(|out| man.render_description_section(out)), false);
    let options = written(|out| man.render_options_section(out));
    // An empty line between two breaks, before possible values: a paragraph, as one says in a manual page.
    text += &after_heading(&options, false).replace(".br\n\n.br\n", ".sp\n");
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        // What holds for all of them stands with the command above.
        let own = subcommand.clone().mut_args(|argument| match argument.is_global_set() {
            true => argument.hide(true),
            false => argument,
        });
        text += &section(&own);
    }
    text
}

/// The generator for `command`, without what every command has: `--help`. The page is that help.
fn man(command: &Command) -> Man {
    let command =
        command.clone().subcommand_value_name("command").mut_args(|argument| match argument.get_id().as_str() {
            "help" => argument.hide(true),
            _ => argument,
        });
    Man::new(command)
}

/// The variables that stand for options, with what those say.
fn variables(command: &Command) -> Vec<(String, String)> {
    let own = command.get_arguments().filter_map(|argument| {
        let name = argument.get_env()?.to_string_lossy().into_owned();
        Some((name, format!("{}.", argument.get_help().map(ToString::to_string).unwrap_or_default())))
    });
    own.chain(command.get_subcommands().flat_map(variables)).collect()
}

/// What a part of the generator writes.
fn written(part: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
    let mut bytes = Vec::new();
    part(&mut bytes).expect("memory takes what is written");
    String::from_utf8(bytes).expect("roff made of text is text")
}

/// A section of the generator's, without the definitions that it repeats before each; with or without its heading.
fn after_heading(section: &str, heading: bool) -> &str {
    let Some(at) = section.find(".SH ") else { return "" };
    let section = &section[at..];
    if heading { section } else { section.split_once('\n').map_or("", |(_, body)| body) }
}
