//! phzd(8): every command and its options on one page, from the definitions behind `--help`.

use std::io;

use clap::{Arg, Command};
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
    ("NOTIFY_SOCKET", "The service manager, who is told that phzd is ready, reloads, and lives (sd_notify(3))."),
    ("LISTEN_FDS, LISTEN_FDNAMES", "Sockets that are given (sd_listen_fds(3)): each must be one of server.listen."),
    ("JOURNAL_STREAM", "Where standard error is the journal, what is logged has fields there, as PHZD_ADDRESS."),
    ("SSL_CERT_FILE", "A file of the certificate authorities that are trusted, in place of the system's."),
];

/// The page of `command`, whose subcommands may be any.
pub fn page(command: Command) -> String {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let variables = variables(&command);
    let man = man(command.clone()).title("phzd").section("8");
    let man = man.date(super::date()).source(super::source()).manual(super::MANUAL);
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
    tidy(&(page + after_heading(&roff.render(), true)))
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
    let mut text = format!(".SS {}\n", command.get_bin_name().unwrap_or_else(|| command.get_name()));
    // Every command has `--help`; that stands with phzd's own options.
    let man = man(without(command, |argument| argument.get_id() == "help"));
    text += after_heading(&written(|out| man.render_synopsis_section(out)), false);
    text += ".PP\n";
    text += after_heading(&written(|out| man.render_description_section(out)), false);
    let options = written(|out| man.render_options_section(out));
    // Options under a heading of their own come with a section.
    text += &after_heading(&options, false).replace("\n.SH ", "\n.PP\n");
    if command.get_after_long_help().or_else(|| command.get_after_help()).is_some() {
        text += ".PP\n";
        text += after_heading(&written(|out| man.render_extra_section(out)), false);
    }
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        // What holds for all of them stands with the command above.
        text += &section(&without(subcommand, Arg::is_global_set));
    }
    text
}

/// `command` with some arguments hidden.
fn without(command: &Command, which: impl Fn(&Arg) -> bool) -> Command {
    command.clone().mut_args(|argument| {
        let hidden = argument.is_hide_set() || which(&argument);
        argument.hide(hidden)
    })
}

/// The generator for `command`.
fn man(command: Command) -> Man {
    Man::new(command.subcommand_value_name("command"))
}

/// The page without what mandoc warns of: an empty line, with which paragraphs and possible values begin, is a request.
fn tidy(page: &str) -> String {
    let lines = page.lines().map(|line| if line.trim().is_empty() { ".sp" } else { line.trim_end() });
    let page = lines.map(|line| format!("{line}\n")).collect::<String>();
    page.replace(".br\n.sp\n.br\n", ".sp\n")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_uses_more_of_clap_keeps_the_page_whole() {
        let option = |name: &'static str| Arg::new(name).long(name);
        let command = Command::new("phzd").about("A daemon: it serves").subcommand(
            Command::new("cost")
                .about("What it costs")
                .arg(option("month").long_help("The month\n\nThis one by default"))
                .arg(option("json").help_heading("Form"))
                .after_help("Prices change.\n\nSo do you."),
        );
        let page = page(command);
        assert!(page.contains(".SH NAME\nphzd \\- A daemon\n"), "{page}");
        let (_, cost) = page.split_once(".SS phzd cost\n").unwrap();
        let (cost, _) = cost.split_once(".SH ").unwrap();
        for part in ["The month\n.sp\nThis one", "\n.PP\nFORM\n", "\\-\\-json", "Prices change.\n.sp\nSo do you."] {
            assert!(cost.contains(part), "no {part:?} in {cost}");
        }
        assert!(page.lines().all(|line| !line.is_empty() && line == line.trim_end()), "{page}");
    }
}
