-- The packet cache keeps what private clients get apart from the rest by the tag. Of the two functions that can give
-- one, this is the faster.
local ffi = require("ffi")
ffi.cdef[[
typedef struct pdns_ffi_param pdns_ffi_param_t;
void pdns_ffi_param_get_remote_raw(pdns_ffi_param_t* query, const void** address, size_t* size);
void pdns_ffi_param_set_tag(pdns_ffi_param_t* query, unsigned int tag);
]]
local address, size = ffi.new("const void*[1]"), ffi.new("size_t[1]")
local names = newDS()
names:add("{NAME}")

function gettag_ffi(query)
  ffi.C.pdns_ffi_param_get_remote_raw(query, address, size)
  local octets = ffi.cast("const uint8_t*", address[0])
  if octets[0] == 127 and octets[1] == 0 and octets[2] == 1 then
    ffi.C.pdns_ffi_param_set_tag(query, 1)
  end
  return {}
end

function preresolve(dq)
  if dq.tag ~= 1 or not names:check(dq.qname) then
    return false
  end
  if dq.qtype == pdns.A then
    dq:addAnswer(pdns.A, "{ENDPOINT}", 60)
  end
  dq.rcode = pdns.NOERROR
  return true
end
