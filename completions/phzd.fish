# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_phzd_global_optspecs
    string join \n h/help V/version
end

function __fish_phzd_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_phzd_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_phzd_using_subcommand
    set -l cmd (__fish_phzd_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c phzd -n "__fish_phzd_needs_command" -s h -l help -d 'Print help'
complete -c phzd -n "__fish_phzd_needs_command" -s V -l version -d 'Print version'
complete -c phzd -n "__fish_phzd_needs_command" -f -a "run" -d 'Serve: answer and forward until stopped'
complete -c phzd -n "__fish_phzd_needs_command" -f -a "check" -d 'Say every mistake of a configuration'
complete -c phzd -n "__fish_phzd_needs_command" -f -a "ctl" -d 'Ask the running daemon how it is, or have it reload, or forget a name'
complete -c phzd -n "__fish_phzd_needs_command" -f -a "explain" -d 'Say why a client is answered as it is: who it is, who decides, what it gets'
complete -c phzd -n "__fish_phzd_needs_command" -f -a "compare" -d 'Ask phzd and another resolver the same, and show field by field where they differ'
complete -c phzd -n "__fish_phzd_needs_command" -f -a "no-proxy" -d 'Print what hosts behind an HTTP proxy must leave to themselves: the private names, as NO_PROXY and its kin have them'
complete -c phzd -n "__fish_phzd_needs_command" -f -a "cost" -d 'Say what a month costs, with a Route 53 hosted zone for each bucket and with phzd'
complete -c phzd -n "__fish_phzd_needs_command" -f -a "doctor" -d 'Examine this host: all that must hold for the private names to work, and what to do where it does not'
complete -c phzd -n "__fish_phzd_needs_command" -f -a "demo" -d 'Show what phzd does, without root and without AWS'
complete -c phzd -n "__fish_phzd_needs_command" -f -a "completions" -d 'Print completions for a shell'
complete -c phzd -n "__fish_phzd_needs_command" -f -a "man" -d 'Print a manual page, in roff'
complete -c phzd -n "__fish_phzd_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c phzd -n "__fish_phzd_using_subcommand run" -l config -d 'The configuration; files in the folder of the same name with `.d` for `.toml` are added to it' -r -F
complete -c phzd -n "__fish_phzd_using_subcommand run" -l state-dir -d 'The folder in which learned addresses and cached answers are kept over a restart; systemd names it. None: they are not kept' -r -F
complete -c phzd -n "__fish_phzd_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c phzd -n "__fish_phzd_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and not __fish_seen_subcommand_from status reload flush cache endpoints stats help" -l socket -d 'The control socket [default: server.control of the configuration]' -r -F
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and not __fish_seen_subcommand_from status reload flush cache endpoints stats help" -l config -d 'The configuration that says where the socket is' -r -F
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and not __fish_seen_subcommand_from status reload flush cache endpoints stats help" -l json -d 'Print JSON'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and not __fish_seen_subcommand_from status reload flush cache endpoints stats help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and not __fish_seen_subcommand_from status reload flush cache endpoints stats help" -f -a "status" -d 'How the daemon is: whether it is ready, its resolvers, endpoints, cache'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and not __fish_seen_subcommand_from status reload flush cache endpoints stats help" -f -a "reload" -d 'Read the configuration again'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and not __fish_seen_subcommand_from status reload flush cache endpoints stats help" -f -a "flush" -d 'Forget what is cached of a name'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and not __fish_seen_subcommand_from status reload flush cache endpoints stats help" -f -a "cache" -d 'What is cached of a name'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and not __fish_seen_subcommand_from status reload flush cache endpoints stats help" -f -a "endpoints" -d 'Every endpoint: its addresses, how they are, which of them clients are given'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and not __fish_seen_subcommand_from status reload flush cache endpoints stats help" -f -a "stats" -d 'What was counted since the start'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and not __fish_seen_subcommand_from status reload flush cache endpoints stats help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from status" -l socket -d 'The control socket [default: server.control of the configuration]' -r -F
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from status" -l config -d 'The configuration that says where the socket is' -r -F
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from status" -l json -d 'Print JSON'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from reload" -l socket -d 'The control socket [default: server.control of the configuration]' -r -F
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from reload" -l config -d 'The configuration that says where the socket is' -r -F
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from reload" -l json -d 'Print JSON'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from reload" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from flush" -l socket -d 'The control socket [default: server.control of the configuration]' -r -F
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from flush" -l config -d 'The configuration that says where the socket is' -r -F
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from flush" -l below -d 'And of all names below it'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from flush" -l json -d 'Print JSON'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from flush" -s h -l help -d 'Print help'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from cache" -l socket -d 'The control socket [default: server.control of the configuration]' -r -F
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from cache" -l config -d 'The configuration that says where the socket is' -r -F
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from cache" -l json -d 'Print JSON'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from cache" -s h -l help -d 'Print help'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from endpoints" -l socket -d 'The control socket [default: server.control of the configuration]' -r -F
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from endpoints" -l config -d 'The configuration that says where the socket is' -r -F
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from endpoints" -l json -d 'Print JSON'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from endpoints" -s h -l help -d 'Print help'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from stats" -l socket -d 'The control socket [default: server.control of the configuration]' -r -F
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from stats" -l config -d 'The configuration that says where the socket is' -r -F
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from stats" -l json -d 'Print JSON'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from stats" -s h -l help -d 'Print help'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "status" -d 'How the daemon is: whether it is ready, its resolvers, endpoints, cache'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "reload" -d 'Read the configuration again'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "flush" -d 'Forget what is cached of a name'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "cache" -d 'What is cached of a name'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "endpoints" -d 'Every endpoint: its addresses, how they are, which of them clients are given'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "stats" -d 'What was counted since the start'
complete -c phzd -n "__fish_phzd_using_subcommand ctl; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c phzd -n "__fish_phzd_using_subcommand explain" -l client -d 'The address that asks; a loopback address is this host' -r
complete -c phzd -n "__fish_phzd_using_subcommand explain" -l config -d 'The configuration' -r -F
complete -c phzd -n "__fish_phzd_using_subcommand explain" -l socket -d 'The daemon\'s control socket, with --running [default: server.control of the configuration]' -r -F
complete -c phzd -n "__fish_phzd_using_subcommand explain" -l running -d 'Ask the running daemon, which knows its cache, its resolvers and the health of endpoints'
complete -c phzd -n "__fish_phzd_using_subcommand explain" -l json -d 'Print JSON'
complete -c phzd -n "__fish_phzd_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c phzd -n "__fish_phzd_using_subcommand compare" -l with -d 'The other resolver, as the VPC\'s with a hosted zone behind it' -r
complete -c phzd -n "__fish_phzd_using_subcommand compare" -l server -d 'phzd [default: the first server.listen of the configuration]' -r
complete -c phzd -n "__fish_phzd_using_subcommand compare" -l config -d 'The configuration that says where phzd is' -r -F
complete -c phzd -n "__fish_phzd_using_subcommand compare" -l type -d 'Only these types, and nothing below the names; may be given several times' -r
complete -c phzd -n "__fish_phzd_using_subcommand compare" -l from -d 'The address that asks [default: the kernel\'s choice]' -r
complete -c phzd -n "__fish_phzd_using_subcommand compare" -l json -d 'Print JSON'
complete -c phzd -n "__fish_phzd_using_subcommand compare" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c phzd -n "__fish_phzd_using_subcommand no-proxy" -l config -d 'The configuration' -r -F
complete -c phzd -n "__fish_phzd_using_subcommand no-proxy" -l format -d 'For whom' -r -f -a "shell\t'Lines for a shell\'s profile: botocore, the AWS CLI, curl, Go'
systemd\t'A drop-in for a systemd unit'
docker\t'What belongs into ~/.docker/config.json'
java\t'An option for java'"
complete -c phzd -n "__fish_phzd_using_subcommand no-proxy" -l suffix -d 'In place of each bucket\'s name that of S3 in its region: shorter, and all its buckets go past the proxy'
complete -c phzd -n "__fish_phzd_using_subcommand no-proxy" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c phzd -n "__fish_phzd_using_subcommand cost" -l region -d 'The region of the endpoint' -r
complete -c phzd -n "__fish_phzd_using_subcommand cost" -l azs -d 'Availability Zones with a network interface of the endpoint' -r
complete -c phzd -n "__fish_phzd_using_subcommand cost" -l gb -d 'GB through the endpoint in a month, both ways together' -r
complete -c phzd -n "__fish_phzd_using_subcommand cost" -l buckets -d 'Buckets, with a hosted zone each' -r
complete -c phzd -n "__fish_phzd_using_subcommand cost" -l hours -d 'Hours of the month' -r
complete -c phzd -n "__fish_phzd_using_subcommand cost" -l prices -d 'Other prices, in a TOML file; what it lacks is as phzd has it' -r -F
complete -c phzd -n "__fish_phzd_using_subcommand cost" -l json -d 'Print JSON, with amounts as texts'
complete -c phzd -n "__fish_phzd_using_subcommand cost" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c phzd -n "__fish_phzd_using_subcommand doctor" -l config -d 'The configuration that phzd runs with' -r -F
complete -c phzd -n "__fish_phzd_using_subcommand doctor" -l json -d 'Print an array of {check, subject, verdict, said, remedy}'
complete -c phzd -n "__fish_phzd_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c phzd -n "__fish_phzd_using_subcommand demo" -l once -d 'End after the questions; exit status 1 if an answer was wrong'
complete -c phzd -n "__fish_phzd_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c phzd -n "__fish_phzd_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c phzd -n "__fish_phzd_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c phzd -n "__fish_phzd_using_subcommand help; and not __fish_seen_subcommand_from run check ctl explain compare no-proxy cost doctor demo completions man help" -f -a "run" -d 'Serve: answer and forward until stopped'
complete -c phzd -n "__fish_phzd_using_subcommand help; and not __fish_seen_subcommand_from run check ctl explain compare no-proxy cost doctor demo completions man help" -f -a "check" -d 'Say every mistake of a configuration'
complete -c phzd -n "__fish_phzd_using_subcommand help; and not __fish_seen_subcommand_from run check ctl explain compare no-proxy cost doctor demo completions man help" -f -a "ctl" -d 'Ask the running daemon how it is, or have it reload, or forget a name'
complete -c phzd -n "__fish_phzd_using_subcommand help; and not __fish_seen_subcommand_from run check ctl explain compare no-proxy cost doctor demo completions man help" -f -a "explain" -d 'Say why a client is answered as it is: who it is, who decides, what it gets'
complete -c phzd -n "__fish_phzd_using_subcommand help; and not __fish_seen_subcommand_from run check ctl explain compare no-proxy cost doctor demo completions man help" -f -a "compare" -d 'Ask phzd and another resolver the same, and show field by field where they differ'
complete -c phzd -n "__fish_phzd_using_subcommand help; and not __fish_seen_subcommand_from run check ctl explain compare no-proxy cost doctor demo completions man help" -f -a "no-proxy" -d 'Print what hosts behind an HTTP proxy must leave to themselves: the private names, as NO_PROXY and its kin have them'
complete -c phzd -n "__fish_phzd_using_subcommand help; and not __fish_seen_subcommand_from run check ctl explain compare no-proxy cost doctor demo completions man help" -f -a "cost" -d 'Say what a month costs, with a Route 53 hosted zone for each bucket and with phzd'
complete -c phzd -n "__fish_phzd_using_subcommand help; and not __fish_seen_subcommand_from run check ctl explain compare no-proxy cost doctor demo completions man help" -f -a "doctor" -d 'Examine this host: all that must hold for the private names to work, and what to do where it does not'
complete -c phzd -n "__fish_phzd_using_subcommand help; and not __fish_seen_subcommand_from run check ctl explain compare no-proxy cost doctor demo completions man help" -f -a "demo" -d 'Show what phzd does, without root and without AWS'
complete -c phzd -n "__fish_phzd_using_subcommand help; and not __fish_seen_subcommand_from run check ctl explain compare no-proxy cost doctor demo completions man help" -f -a "completions" -d 'Print completions for a shell'
complete -c phzd -n "__fish_phzd_using_subcommand help; and not __fish_seen_subcommand_from run check ctl explain compare no-proxy cost doctor demo completions man help" -f -a "man" -d 'Print a manual page, in roff'
complete -c phzd -n "__fish_phzd_using_subcommand help; and not __fish_seen_subcommand_from run check ctl explain compare no-proxy cost doctor demo completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c phzd -n "__fish_phzd_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "status" -d 'How the daemon is: whether it is ready, its resolvers, endpoints, cache'
complete -c phzd -n "__fish_phzd_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "reload" -d 'Read the configuration again'
complete -c phzd -n "__fish_phzd_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "flush" -d 'Forget what is cached of a name'
complete -c phzd -n "__fish_phzd_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "cache" -d 'What is cached of a name'
complete -c phzd -n "__fish_phzd_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "endpoints" -d 'Every endpoint: its addresses, how they are, which of them clients are given'
complete -c phzd -n "__fish_phzd_using_subcommand help; and __fish_seen_subcommand_from ctl" -f -a "stats" -d 'What was counted since the start'
