"""The statements that the simulated gateway knows, and what each may hold.

The grammar below is the part of Junos that a small SRX with BGP uses. One statement a line, indented under its parent:
`name` is a container or a bare flag, `name =type` holds one value, `name +type` a list of values, `name *type` is a list of
items keyed by a value, and `name ?type` is a container that may itself hold a value (`teardown 80`). `.` stands for a list whose
items have no keyword of their own. Marks: `|` is printed on one line, `~` too where it holds a single plain statement, `>` is printed
on the line of what it holds (`family inet {`), `!` stays when nothing is left in it, `#` is a secret. Source: the Junos CLI
reference, SRX300 line, 21.4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from ipaddress import ip_address, ip_interface, ip_network
from typing import Literal

Shape = Literal["container", "leaf", "leaves", "list", "valued"]
SHAPES: Mapping[str, Shape] = {"=": "leaf", "+": "leaves", "*": "list", "?": "valued"}
MARKS = {"|": "one_line", "~": "condensed", ">": "joined", "!": "stays", "#": "secret"}

GRAMMAR = """
version =word
system
  host-name =word
  root-authentication
    encrypted-password =string #
    ssh-ed25519 *string
    ssh-rsa *string
  login
    class *word
      permissions +word
      idle-timeout =1..4294967
    user *word
      full-name =string
      uid =100..64000
      class =word
      authentication
        encrypted-password =string #
        ssh-ed25519 *string
        ssh-rsa *string
        ssh-ecdsa *string
    retry-options
      tries-before-disconnect =2..10
      lockout-period =1..43200
    message =string
  services
    ssh !
      root-login =word
      protocol-version +word
      connection-limit =1..250
      rate-limit =1..250
      sftp-server
    netconf !
      ssh !
        port =1..65535
    dhcp-local-server
      group *word
        interface *interface
    web-management
      https
        system-generated-certificate
        interface +interface
  domain-name =word
  time-zone =word
  name-server *ip
  ntp
    server *ip
      prefer
  syslog
    archive
      size =word
      files =1..1000
    user *word |
      any =word
    host *word
      any =word
    file *word
      any =word
      authorization =word
      interactive-commands =word
      match =string
  max-configurations-on-flash =0..49
  max-configuration-rollbacks =0..49
  license
    autoupdate
      url *string
chassis
  alarm
    management-ethernet
      link-down =word
security
  log
    mode =word
    report
  nat
    source
      rule-set *word
        from ~
          zone +word
        to
          zone +word
        rule *word
          match
            source-address +prefix
            destination-address +prefix
          then ~
            source-nat
              interface !
              off
  policies
    from-zone *word >
      to-zone *word
        policy *word
          description =string
          match
            source-address +word
            destination-address +word
            application +word
          then ~
            permit !
            deny
            reject
            log
              session-init
              session-close
    default-policy
      permit-all
      deny-all
  screen
    ids-option *word
      icmp
        ping-death
      ip
        source-route-option
        tear-drop
      tcp
        syn-flood
          alarm-threshold =1..500000
          attack-threshold =1..500000
          timeout =1..50
        land
  zones
    security-zone *word
      description =string
      tcp-rst
      screen =word
      address-book
        address *word =prefix
      host-inbound-traffic
        system-services
          all
          any-service
          ping
          ssh
          netconf
          dhcp
          dns
          http
          https
          ntp
          snmp
          ike
          traceroute
        protocols
          all
          bgp
          bfd
          ospf
          rip
          vrrp
          router-discovery
      interfaces
        . *interface
          host-inbound-traffic
            system-services
              all
              any-service
              ping
              ssh
              netconf
              dhcp
              dns
              http
              https
              ntp
              snmp
              ike
              traceroute
            protocols
              all
              bgp
              bfd
              ospf
              rip
              vrrp
              router-discovery
  flow
    tcp-mss
      all-tcp
        mss =64..65535
    tcp-session
      no-syn-check
      no-sequence-check
interfaces
  . *word
    description =string
    disable
    mtu =256..9192
    native-vlan-id =1..4094
    vlan-tagging
    unit *number
      description =string
      disable
      vlan-id =1..4094
      family >
        inet !
          mtu =68..9500
          address *prefix
            primary
            preferred
          dhcp !
        inet6 !
          address *prefix
        ethernet-switching !
          interface-mode =word
          vlan
            members +word
snmp
  community *word
    authorization =word
policy-options
  prefix-list *word
    . *prefix
  policy-statement *word
    term *word
      from ~
        protocol +word
        neighbor +ip
        prefix-list *word
        prefix-list-filter *word |
          exact
          longer
          orlonger
        route-filter *prefix |
          exact
          longer
          orlonger
          upto =slash
          prefix-length-range =slashes
        as-path +word
        community +word
        interface +interface
      then ~
        local-preference ?number
        metric ?number
        community
          add *word
          set *word
        next-hop =word
        load-balance |
          per-packet
          per-flow
        next =word
        accept
        reject
    from ~
      protocol +word
      prefix-list *word
      route-filter *prefix |
        exact
        longer
        orlonger
        upto =slash
        prefix-length-range =slashes
    then ~
      local-preference ?number
      metric ?number
      next-hop =word
      load-balance |
        per-packet
        per-flow
      next =word
      accept
      reject
  community *word
    members +word
  as-path *word =string
routing-options
  static
    route *prefix
      next-hop +word
      discard
      reject
      no-readvertise
      preference =number
  router-id =ip
  autonomous-system ?asn |
    asdot-notation
    loops =1..10
  forwarding-table
    export +word
  graceful-restart !
    disable
    restart-duration =120..10000
  interface-routes
    rib-group
      inet =word
protocols
  bgp
    path-selection
      always-compare-med
      external-router-id
    hold-time =20..65535
    minimum-hold-time =20..65535
    local-address =ip
    import +word
    export +word
    log-updown
    graceful-restart !
      disable
      restart-time =1..600
      stale-routes-time =1..600
    traceoptions
      file ?word |
        size =word
        files =2..1000
      flag *word
    group *word
      type =word
      description =string
      traceoptions
        file ?word |
          size =word
          files =2..1000
        flag *word
      passive
      local-address =ip
      hold-time =20..65535
      minimum-hold-time =20..65535
      log-updown
      import +word
      family >
        inet
          any !
          unicast !
            accepted-prefix-limit
              maximum =1..4294967295
              teardown ?1..100 |
                idle-timeout ?1..2400
                  forever
            prefix-limit
              maximum =1..4294967295
              teardown ?1..100 |
                idle-timeout ?1..2400
                  forever
            add-path
              receive
        inet6
          any !
          unicast !
            accepted-prefix-limit
              maximum =1..4294967295
              teardown ?1..100 |
                idle-timeout ?1..2400
                  forever
            prefix-limit
              maximum =1..4294967295
              teardown ?1..100 |
                idle-timeout ?1..2400
                  forever
      authentication-key =string #
      authentication-algorithm =word
      authentication-key-chain =word
      export +word
      remove-private
      peer-as =asn
      local-as ?asn |
        private
        no-prepend-global-as
        alias
        loops =1..10
      ttl =1..255
      multihop !
        ttl =1..255
        no-nexthop-change
      multipath !
        multiple-as
      bfd-liveness-detection
        minimum-interval =1..255000
        multiplier =1..255
      graceful-restart !
        disable
        restart-time =1..600
        stale-routes-time =1..600
      allow *prefix
      neighbor *ip
        description =string
        passive
        local-address =ip
        hold-time =20..65535
        minimum-hold-time =20..65535
        import +word
        family >
          inet
            any !
            unicast !
              accepted-prefix-limit
                maximum =1..4294967295
                teardown ?1..100 |
                  idle-timeout ?1..2400
                    forever
              prefix-limit
                maximum =1..4294967295
                teardown ?1..100 |
                  idle-timeout ?1..2400
                    forever
          inet6
            any !
            unicast !
              prefix-limit
                maximum =1..4294967295
                teardown ?1..100 |
                  idle-timeout ?1..2400
                    forever
        authentication-key =string #
        authentication-algorithm =word
        export +word
        peer-as =asn
        local-as ?asn |
          private
          no-prepend-global-as
          alias
          loops =1..10
        shutdown
        multihop !
          ttl =1..255
        bfd-liveness-detection
          minimum-interval =1..255000
          multiplier =1..255
  l2-learning
    global-mode =word
  lldp
    interface *word
  rstp
    interface *word
vlans
  . *word
    vlan-id =1..4094
    l3-interface =word
"""


@dataclass(slots=True)
class Statement:
    """One statement of the grammar. `takes` is the type of its value or key, "" where it has none."""

    name: str
    shape: Shape = "container"
    takes: str = ""
    holds: str = ""
    one_line: bool = False
    condensed: bool = False
    joined: bool = False
    stays: bool = False
    secret: bool = False
    order: int = 0
    children: dict[str, Statement] = field(default_factory=dict)

    @property
    def flag(self) -> bool:
        """A bare word: present or not."""
        return self.shape == "container" and not self.children


@cache
def root() -> Statement:
    """The grammar as a tree, parsed once."""
    top = Statement("", stays=True)
    path = [top]
    for number, line in enumerate(GRAMMAR.strip("\n").splitlines()):
        depth = (len(line) - len(line.lstrip())) // 2
        statement = _statement(line.split(), number)
        del path[depth + 1 :]
        path[depth].children[statement.name] = statement
        path.append(statement)
    return top


def _statement(words: list[str], number: int) -> Statement:
    statement = Statement("" if words[0] == "." else words[0], order=number)
    for word in words[1:]:
        if word in MARKS:
            setattr(statement, MARKS[word], True)
        elif statement.shape == "list":
            statement.holds = word[1:]
        else:
            statement.shape, statement.takes = SHAPES[word[0]], word[1:]
    return statement


def fault(kind: str, value: str) -> str:
    """Why `value` is not of type `kind`, in the device's words; "" where it is."""
    if match := re.fullmatch(r"(\d+)\.\.(\d+)", kind):
        low, high = int(match[1]), int(match[2])
        if not value.isdigit():
            return f"Invalid numeric value: '{value}'"
        return "" if low <= int(value) <= high else f"Value {value} is not within range ({low}..{high})"
    if kind == "number":
        return "" if value.isdigit() else f"Invalid numeric value: '{value}'"
    if kind == "asn":
        plain = value.isdigit() and 0 < int(value) <= 4294967295
        dotted = re.fullmatch(r"\d{1,5}\.\d{1,5}", value)
        return "" if plain or dotted else f"Invalid AS number: '{value}'"
    if kind == "ip":
        return "" if _parses(ip_address, value) else f"invalid ip address or hostname: {value}"
    if kind == "prefix":
        return "" if _parses(ip_interface, value) else f"invalid ip address or hostname: {value}"
    if kind == "slash":
        return "" if re.fullmatch(r"/\d{1,3}", value) else f"invalid prefix length: {value}"
    if kind == "slashes":
        return "" if re.fullmatch(r"/\d{1,3}-/\d{1,3}", value) else f"invalid prefix length range: {value}"
    if kind == "interface":
        return "" if re.fullmatch(r"[a-z]+[-0-9/]*(\.\d+)?", value) else f"invalid interface name: {value}"
    return "" if value else "missing argument."


def canonical(kind: str, value: str) -> str:
    """The value as the device shows it: a bare address as a host prefix, a route without host bits, AS numbers in plain form."""
    if kind == "prefix" and "/" not in value:
        return str(ip_network(value))
    if kind == "asn" and "." in value:
        high, low = value.split(".")
        return str(int(high) * 65536 + int(low))
    return value


def _parses(make: object, value: str) -> bool:
    try:
        make(value)  # type: ignore[operator]  # one of ipaddress' factories
    except ValueError:
        return False
    return True
