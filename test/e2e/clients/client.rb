# GET /big and POST /echo with Net::HTTP; prints the SHA-256 of what came, and what was answered.
require 'digest'
require 'net/http'

base = URI(ARGV[0])
proxy = URI(ENV.fetch('https_proxy'))
Net::HTTP.start(base.host, base.port, proxy.host, proxy.port, proxy.user, proxy.password, use_ssl: true) do |http|
  big = http.get('/big').body
  puts "#{Digest::SHA256.hexdigest(big)} #{http.post('/echo', 'x' * 300_000).body}"
end
