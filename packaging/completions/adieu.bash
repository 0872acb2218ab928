# bash completion for adieu; written by cargo run --example generate

_adieu() {
    local current=${COMP_WORDS[COMP_CWORD]} index=1 word
    local flags='--grace --pre-stop --drain-timeout --kill-margin --leftovers --stop --stop-on --stop-once --wait --reserve --profile --platform --rewrite -r --group -g --single-child -c --parent-death-signal -p --orphan-signal --subreaper -s --success-exit -e --success-on-stop --exit-signal --health --ready --ready-file --probe --drain --drain-port --drain-outbound --drain-check --close-connections --drain-quiet --drain-longest --on-start --on-stop --on-exit --hook-timeout --log-level --log-format --verbose -v --warn-on-reap -w --report --install --config --check --help -h --license -l --version -V'
    COMPREPLY=()
    while ((index < COMP_CWORD)); do
        word=${COMP_WORDS[index]}
        case $word in
            --) ((index++)); break ;;
            --grace | --pre-stop | --drain-timeout | --kill-margin | --leftovers | --stop | --stop-on | --reserve | --profile | --platform | --rewrite | -r | --parent-death-signal | -p | --orphan-signal | --success-exit | -e | --success-on-stop | --exit-signal | --health | --ready | --ready-file | --probe | --drain | --drain-port | --drain-outbound | --drain-check | --close-connections | --drain-quiet | --drain-longest | --on-start | --on-stop | --on-exit | --hook-timeout | --log-level | --log-format | --report | --install | --config) ((index += 2)) ;;
            -*) ((index++)) ;;
            *) break ;;
        esac
    done
    if ((index < COMP_CWORD)) || [[ ${COMP_WORDS[COMP_CWORD-1]} == -- ]]; then
        if declare -F _command_offset >/dev/null; then _command_offset "$index"; fi
        return
    fi
    case ${COMP_WORDS[COMP_CWORD-1]} in
        --profile) mapfile -t COMPREPLY < <(compgen -W 'nginx httpd haproxy php-fpm postgres unicorn starman hypnotoad nghttpx resque gitlab-runner teleport lighttpd pgcat pgdog uwsgi beanstalkd sidekiq pgbouncer rq buildkite-agent none' -- "$current"); return ;;
        --platform) mapfile -t COMPREPLY < <(compgen -W 'systemd kubernetes ecs cloud-run nomad fly heroku docker none' -- "$current"); return ;;
        --exit-signal) mapfile -t COMPREPLY < <(compgen -W 'always never auto' -- "$current"); return ;;
        --probe) mapfile -t COMPREPLY < <(compgen -W 'readyz livez status' -- "$current"); return ;;
        --drain) mapfile -t COMPREPLY < <(compgen -W 'auto off' -- "$current"); return ;;
        --log-level) mapfile -t COMPREPLY < <(compgen -W 'off error warn info debug trace' -- "$current"); return ;;
        --log-format) mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$current"); return ;;
        --ready-file | --report | --install | --config) mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
        --grace | --pre-stop | --drain-timeout | --kill-margin | --leftovers | --stop | --stop-on | --reserve | --rewrite | -r | --parent-death-signal | -p | --orphan-signal | --success-exit | -e | --success-on-stop | --health | --ready | --drain-port | --drain-outbound | --drain-check | --close-connections | --drain-quiet | --drain-longest | --on-start | --on-stop | --on-exit | --hook-timeout) return ;;
    esac
    case $current in
        -*) mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$current") ;;
        *) mapfile -t COMPREPLY < <(compgen -c -- "$current") ;;
    esac
}
complete -o filenames -F _adieu adieu
