//! phzd(8): every command and its options on one page, from the definitions behind `--help`.

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::Roff;

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
    let man = man(&command).title("phzd").section("8").source(super::source()).manual(super::MANUAL);
    let mut page = written(|out| man.render_title(out));
    for section in [Man::render_name_section, Man::render_synopsis_section, Man::render_description_section] {
        page += after_heading(&written(|out| section(&man, out)), true);
    }
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
    super::see_also(&mut roff, &[("phzd.toml", "5"), ("systemctl", "1"), ("resolv.conf", "5")]);
    page + after_heading(&roff.render(), true)
}

/// A command and those below it: how it is called, what it does, its options.
fn section(command: &Command) -> String {
    let man = man(command);
    let mut text = format!(".SS {}\n", command.get_bin_name().unwrap_or_else(|| command.get_name()));
    text += after_heading(&written(|out| man.render_synopsis_section(out)), false);
    text += ".PP\n";
    text += after_heading(&written(|out| man.render_description_section(out)), false);
    text += after_heading(&written(|out| man.render_options_section(out)), false);
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

/// The generator for `command`, without what every command has: `--help`.
fn man(command: &Command) -> Man {
    Man::new(command.clone().mut_args(|argument| match argument.get_id().as_str() {
        "help" if command.get_bin_name() != Some("phzd") => argument.hide(true),
        _ => argument,
    }))
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
