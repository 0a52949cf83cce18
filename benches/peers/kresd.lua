net.listen('{ADDRESS}', {PORT}, { kind = 'dns' })
modules = { 'policy', 'view < policy' }
modules.unload('priming')
modules.unload('ta_update')
modules.unload('ta_signal_query')
modules.unload('detect_time_skew')
modules.unload('detect_time_jump')
trust_anchors.remove('.')
cache.size = 64 * MB
local names = {
    '{NAME}.',
}
local private = policy.ANSWER({ [kres.type.A] = { rdata = kres.str2ip('{ENDPOINT}'), ttl = 60 } })
view:addr('127.0.1.0/24', policy.suffix(private, policy.todnames(names)))
view:addr('127.0.0.0/8', policy.all(policy.STUB('{RESOLVER}@{RESOLVER-PORT}')))
view:addr('0.0.0.0/0', policy.all(policy.REFUSE))
