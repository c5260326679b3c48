"""Where credentials are kept: one table of places in the home, in the system and in a workspace.

The kinds are those that scanners for leaked secrets look for. A folder covers everything below it;
all names are compared without regard to case.
"""

from __future__ import annotations


def _lines(text: str) -> tuple[str, ...]:
    """One entry a line, so that an entry may have blanks."""
    return tuple(line.strip() for line in text.strip().split("\n"))


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


HOME: tuple[str, ...] = (
    # keys and agents
    *_words(
        ".ssh .ssh2 .putty .gnupg .pki .password-store .local/share/keyrings "
        ".local/share/kwalletd .local/share/gnome-keyring .gnome2/keyrings "
        ".kde/share/apps/kwallet .tsh .step .acme.sh .config/sops .age Library/Keychains "
        "Library/Cookies"
    ),
    # clouds and hosting
    *_words(
        ".aws .azure .oci .aliyun .kube .docker .dockercfg .config/gcloud .gsutil .boto .s3cfg "
        ".passwd-s3fs .s3ql .rclone.conf .mc .minio .digitalocean .doctl .tugboat .linode-cli "
        ".scw .bluemix .ibmcloud .cf .fly .wrangler .railway .netlify .vercel .heroku .now "
        ".surge .cloudflared .ngrok .ngrok2 .terraform.d .terraformrc .pulumi .vagrant.d/data "
        ".vault-token .vault_pass .ansible/vault_pass .chef .puppetlabs .minikube .argocd "
        ".serverlessrc .sentryclirc .databrickscfg .databricks .snowflake .snowsql .kaggle "
        ".wandb .dbt .influxdbv2"
    ),
    # package registries and code hosting
    *_words(
        ".netrc _netrc .authinfo .authinfo.gpg .git-credentials .gitconfig.local .hub .gist "
        ".travis .circleci .arcrc .jira.d .pypirc .pip/pip.conf .local/share/uv/credentials "
        ".npmrc .yarnrc .yarnrc.yml .gem/credentials .bundle/config .composer/auth.json "
        ".cargo/credentials .cargo/credentials.toml .m2/settings.xml .m2/settings-security.xml "
        ".gradle/gradle.properties .ivy2/.credentials .sbt/.credentials "
        ".lein/credentials.clj.gpg .hex/hex.config .pub-cache/credentials.json .nuget/NuGet "
        ".jfrog .expo .fastlane .twilio-cli .android/adbkey "
        ".jupyter/jupyter_server_config.json .Renviron .cache/huggingface/token .huggingface "
        ".ollama/id_ed25519 .openai .anthropic"
    ),
    # databases
    *_words(
        ".pgpass .my.cnf .mylogin.cnf .mongorc.js .dbshell .cassandra/credentials .pgadmin "
        ".dbeaver4 .local/share/DBeaverData"
    ),
    # remote desktops and file transfer
    *_words(
        ".vnc .rdesktop .freerdp .local/share/remmina .ICAClient .filezilla .ncftp .lftprc "
        ".subversion/auth .cvspass"
    ),
    # browsers and mail
    *_lines(
        """
        .mozilla
        .zen
        .librewolf
        .waterfox
        .thunderbird
        .config/google-chrome
        .config/chromium
        .config/BraveSoftware
        .config/microsoft-edge
        .config/vivaldi
        .config/opera
        .cache/mozilla
        .cache/google-chrome
        .cache/chromium
        .cache/thunderbird
        .var/app
        snap
        Library/Application Support
        Library/Safari
        Library/Mail
        Library/Messages
        .mutt
        .muttrc
        .msmtprc
        .fetchmailrc
        .offlineimaprc
        .mbsyncrc
        """
    ),
    # histories of commands, which hold what was typed
    *_words(
        ".bash_history .zsh_history .zhistory .zsh_sessions .bash_sessions .sh_history "
        ".ksh_history .histfile .local/share/fish/fish_history .python_history "
        ".node_repl_history .psql_history .mysql_history .sqlite_history .rediscli_history "
        ".irb_history .pry_history .php_history .lua_history .scala_history .ghc/ghci_history "
        ".Rhistory .julia/logs .ipython/profile_default/history.sqlite .lesshst .viminfo "
        ".local/state/nvim/shada"
    ),
    # wallets and messengers
    *_words(
        ".bitcoin .ethereum .electrum .solana .monero .litecoin .dogecoin .near-credentials "
        ".aptos .sui .foundry/keystores .brownie/accounts .starknet_accounts .purple .irssi "
        ".weechat .local/share/TelegramDesktop"
    ),
    # other agents
    *_words(
        ".claude .claude.json .codex .gemini .qwen .copilot .cursor .continue .aider.conf.yml "
        ".opencode .windsurf .codeium .kiro .kimi .vibe .factory .tabnine"
    ),
)
"""Relative to the home directory."""

CONFIG_SHOWN: tuple[str, ...] = _words(
    "git/config git/ignore git/attributes ruff black flake8 pycodestyle pylintrc yamllint mypy "
    "matplotlib fontconfig clangd rustfmt ripgrep fd bat go/env golangci-lint nix/nix.conf "
    "shellcheckrc zig"
)
"""The parts of `~/.config` that a sandboxed child sees; applications keep tokens in the rest."""

SYSTEM: tuple[str, ...] = _words(
    "/etc/shadow /etc/shadow- /etc/gshadow /etc/gshadow- /etc/sudoers /etc/sudoers.d "
    "/etc/ssl/private /etc/krb5.keytab /etc/NetworkManager/system-connections /etc/wireguard "
    "/etc/openvpn /etc/ipsec.secrets /etc/ppp /etc/kubernetes /etc/rancher "
    "/etc/docker/key.json /etc/letsencrypt /etc/mysql/debian.cnf /etc/apt/auth.conf "
    "/etc/apt/auth.conf.d /etc/pip.conf /var/lib/docker /var/lib/containerd /var/lib/kubelet "
    "/var/lib/sss /var/spool/cron /var/spool/mail /var/mail /var/backups"
)

NAMES: tuple[str, ...] = (
    # settings with credentials in them
    *_words(
        ".env .env.* .env-* .env_* .env~ .envrc *.env .dev.vars .dev.vars.* .netrc _netrc "
        ".pypirc .npmrc .pgpass .my.cnf .mylogin.cnf .git-credentials .htpasswd .dockercfg "
        ".dockerconfigjson .s3cfg .boto .passwd-s3fs .vault-token .vault_pass* vault_pass* "
        ".vault-password* vault-password* .terraformrc terraform.rc *.tfvars *.tfvars.json "
        "*.tfstate *.tfstate.backup kubeconfig *.kubeconfig rclone.conf .rclone.conf .sentryclirc "
        "wp-config.php sftp-config.json .ftpconfig .remote-sync.json recentservers.xml "
        "sitemanager.xml filezilla.xml robomongo.json local.settings.json keystore.properties "
        "key.properties .mongorc.js .muttrc .msmtprc"
    ),
    # files that are nothing but credentials
    *_words(
        "credentials .credentials credentials.json credentials.xml credentials.toml "
        "credentials.csv rootkey.csv *accesskeys.csv client_secret*.json service-account*.json "
        "service_account*.json serviceaccount*.json application_default_credentials.json "
        "*firebase-adminsdk*.json token.json .token secrets.json secrets.toml secrets.yaml "
        "secrets.yml secrets.ini secrets.properties secret_token.rb .secrets *.secret "
        "*.secrets .*_history .histfile .viminfo shadow proftpdpasswd"
    ),
    # keys
    *_words(
        "id_rsa id_dsa id_ecdsa id_ed25519 id_ecdsa_sk id_ed25519_sk *_rsa *_dsa *_ecdsa "
        "*_ed25519 *.pem *.key *.ppk *.p12 *.pfx *.pkcs12 *.p8 *.pk8 *.kdbx *.kdb *.jks "
        "*.keystore *.bks *.keytab *.ovpn *.agekey *.agilekeychain *.keychain"
    ),
)
"""Patterns of names of files that hold secrets in any directory."""

PUBLIC_NAME = (
    r"(^|.*[._-])(example|sample|template|tmpl|dist|defaults|schema|pub|enc)([._-].*|$)"
    r"|cacert\.pem|ca-bundle\.pem|ca-certificates\.pem|.*\.d\.ts"
)
"""Names that look like those above and hold none: `.env.example`, `credentials-sample.json`."""

FOLDERS: tuple[str, ...] = _words(
    ".aws .ssh .gnupg .kube .azure .oci .gcloud .password-store .docker/config.json "
    ".composer/auth.json .vscode/sftp.json .m2/settings.xml .gem/credentials "
    ".cargo/credentials.toml"
)
"""Folders and files in folders that hold secrets anywhere."""
